/*
 * Looks through your annotations of the open image before you hand them in, and says what to mend.
 *
 * In QuPath: open the image, then Automate > Script editor, open this file, Run. What needs mending is
 * selected in the image afterwards.
 * From a command line: QuPath script check_my_work.groovy -p project.qpproj
 *
 * It changes nothing. The protocol stands in the next line, where `pathquorum scripts --protocol NAME`
 * has put it; without one, the project's classes are taken. A class is known if `pathquorum pull` would
 * know it: by an alias, a pattern such as `Ignore*`, or as a kind of a known class (`Tumor: Positive`).
 * Needs QuPath 0.5 or later.
 */
PROTOCOL = ""

import java.util.regex.Matcher
import java.util.regex.Pattern

import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.util.GeometryFixer
import org.locationtech.jts.index.strtree.STRtree

import qupath.lib.io.GsonTools
import qupath.lib.objects.PathObject

import static qupath.lib.scripting.QP.*

// How many letters have to change to make one name of another.
int apart(String one, String other) {
    int[] before = (0..other.length()) as int[]
    for (int i = 1; i <= one.length(); i++) {
        int[] row = new int[other.length() + 1]
        row[0] = i
        for (int j = 1; j <= other.length(); j++) {
            int swap = before[j - 1] + (one.charAt(i - 1) == other.charAt(j - 1) ? 0 : 1)
            row[j] = Math.min(swap, Math.min(before[j], row[j - 1]) + 1)
        }
        before = row
    }
    return before[other.length()]
}

// The levels of a class, without outer blanks; what counts as blank is what Python strips.
List<String> levelsOf(String pathClass) {
    List<String> levels = []
    for (String level : pathClass.split(":", -1)) {
        int first = 0, end = level.length()
        while (first < end && isBlank(level.charAt(first)))
            first++
        while (first < end && isBlank(level.charAt(end - 1)))
            end--
        if (first < end)
            levels.add(level.substring(first, end))
    }
    return levels
}

boolean isBlank(char letter) {
    return Character.isWhitespace(letter) || Character.isSpaceChar(letter) || (int) letter == 0x85
}

// Whether a class is literally a pattern, or fits its wildcards * and ?.
boolean fits(String pathClass, String pattern) {
    StringBuilder expression = new StringBuilder()
    Matcher wildcards = Pattern.compile("\\*+|\\?").matcher(pattern)
    int done = 0
    while (wildcards.find()) {
        expression.append(Pattern.quote(pattern.substring(done, wildcards.start())))
        expression.append(wildcards.group() == "?" ? "." : ".*")
        done = wildcards.end()
    }
    expression.append(Pattern.quote(pattern.substring(done)))
    return pathClass == pattern || Pattern.compile(expression.toString(), Pattern.DOTALL).matcher(pathClass).matches()
}

// What a class means to `pathquorum pull`, by the rules of annotation/class_mapping.py: its kind, and the
// protocol's class where it is one. `names` are the classes by name and alias, `patterns` kinds and patterns.
List<String> meaningOf(String pathClass, Map<String, String> names, List<List<String>> patterns) {
    List<String> levels = levelsOf(pathClass == null ? "" : pathClass)
    if (levels.isEmpty())
        return ["unclassified", null]
    List<String> renamed = levels.collect { names.getOrDefault(it, it) }
    for (int length = levels.size(); length > 0; length--) {
        String asWritten = levels.subList(0, length).join(": ")
        if (names.containsKey(asWritten))
            return ["class", names.get(asWritten)]
        List<String> pattern = patterns.find { fits(asWritten, it.get(1)) }
        if (pattern != null)
            return [pattern.get(0), null]
        String asRenamed = levelsOf(renamed.subList(0, length).join(": ")).join(": ")
        if (names.containsKey(asRenamed))
            return ["class", names.get(asRenamed)]
    }
    return ["unmapped", null]
}

def imageData = getCurrentImageData()
if (imageData == null) {
    println "No image is open: open the image that you have annotated."
    return
}
def protocol = PROTOCOL.isEmpty() ? null : GsonTools.getInstance().fromJson(new String(PROTOCOL.decodeBase64(), "UTF-8"), Map.class)
List<String> listed = getProject() == null ? [] : getProject().getPathClasses().collect { it.toString() }
Map<String, String> names = protocol != null ? protocol.names : listed.collectEntries { [(levelsOf(it).join(": ")): it] }
List<List<String>> patterns = protocol != null ? protocol.patterns : []
List<String> known = (names.keySet() as List) + patterns.collect { it.get(1) }
List<String> domainClasses = protocol != null ? protocol.domain : []
boolean needsDomain = protocol != null && protocol.needs_domain

List<PathObject> mine = new ArrayList<>(imageData.getHierarchy().getAnnotationObjects()).findAll { !it.getMetadata().containsKey("pathquorum") }
List<String> told = []
Set<PathObject> toMend = new LinkedHashSet<>()
def tell = { List<PathObject> things, String one, String many ->
    if (!things.isEmpty()) {
        told.add(things.size() + " " + (things.size() == 1 ? one : many))
        toMend.addAll(things)
    }
}

Map<String, List<String>> meanings = [:]
def meaning = { PathObject it ->
    String written = it.getPathClass() == null ? "" : it.getPathClass().toString()
    meanings.computeIfAbsent(written, { meaningOf(it, names, patterns) })
}
def kind = { PathObject it -> meaning(it).get(0) }
tell(mine.findAll { kind(it) == "unclassified" }, "annotation has no class", "annotations have no class")
Map<String, List<PathObject>> strange = mine.findAll {
    !known.isEmpty() && kind(it) == "unmapped"
}.groupBy { it.getPathClass().toString() }
strange.each { name, things ->
    String nearest = known.min { apart(name.toLowerCase(), it.toLowerCase()) }
    tell(things, "annotation has the class '" + name + "', which the protocol doesn't know; did you mean '" + nearest + "'?",
        "annotations have the class '" + name + "', which the protocol doesn't know; did you mean '" + nearest + "'?")
}

Map<PathObject, Geometry> outlines = new LinkedHashMap<>()
List<PathObject> broken = []
for (PathObject thing : mine) {
    Geometry outline = null
    try {
        outline = thing.getROI() == null ? null : thing.getROI().getGeometry()
        if (outline != null && !outline.isValid())
            outline = GeometryFixer.fix(outline)
    } catch (Exception | StackOverflowError error) {
        outline = null
    }
    if (outline == null || outline.isEmpty() || (thing.getROI().isArea() && !(outline.getArea() > 0)))
        broken.add(thing)
    else
        outlines.put(thing, outline)
}
tell(broken, "annotation has an empty or broken outline", "annotations have an empty or broken outline")

int width = imageData.getServer().getWidth(), height = imageData.getServer().getHeight()
tell(outlines.keySet().findAll {
    def box = outlines.get(it).getEnvelopeInternal()
    box.getMinX() < -0.5 || box.getMinY() < -0.5 || box.getMaxX() > width + 0.5 || box.getMaxY() > height + 0.5
} as List, "annotation reaches beyond the image", "annotations reach beyond the image")

List<PathObject> domain = outlines.keySet().findAll { needsDomain && kind(it) == "domain" } as List
if (needsDomain && domain.isEmpty())
    told.add("nothing says what you have read: draw an annotation of the class '" + domainClasses[0] + "' around it")
// What is unknown will be rated once its class is mended.
List<PathObject> rated = outlines.keySet().findAll { kind(it) in ["class", "unmapped"] } as List
if (!domain.isEmpty()) {
    Geometry whole = domain.collect { outlines.get(it) }.inject { one, other -> one.union(other) }
    tell(rated.findAll { !outlines.get(it).intersects(whole) }, "annotation lies outside what you have read",
        "annotations lie outside what you have read")
}

// An annotation inside another is fine; two of different classes that cross each other are not.
STRtree tree = new STRtree()
rated.each { if (it.getROI().isArea()) tree.insert(outlines.get(it).getEnvelopeInternal(), it) }
def ratedAs = { PathObject it -> kind(it) == "class" ? meaning(it).get(1) : it.getPathClass().toString() }
Set<PathObject> crossing = new LinkedHashSet<>()
for (PathObject thing : rated.findAll { it.getROI().isArea() }) {
    Geometry one = outlines.get(thing)
    for (other in tree.query(one.getEnvelopeInternal())) {
        if (other.is(thing) || ratedAs(other) == ratedAs(thing))
            continue
        Geometry two = outlines.get(other)
        double smaller = Math.min(one.getArea(), two.getArea()), larger = Math.max(one.getArea(), two.getArea())
        double shared = one.intersection(two).getArea()
        // Nearly the same outline under two classes is no nesting.
        if (shared > 0.01 * smaller && (shared < 0.99 * smaller || shared > 0.99 * larger))
            crossing.add(thing)
    }
}
tell(crossing as List, "annotation overlaps one of another class", "annotations overlap one of another class")

imageData.getHierarchy().getSelectionModel().setSelectedObjects(toMend as List, null)
def entry = getProjectEntry()
println((entry == null ? "This image" : entry.getImageName()) + ": " + mine.size() + " annotations.")
told.each { println "- " + it + "." }
println told.isEmpty() ? "Ready to hand in." : "Please mend these, they are selected in the image, then run this again."
