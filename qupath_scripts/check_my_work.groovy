/*
 * Looks through your annotations of the open image before you hand them in, and says what to mend.
 *
 * In QuPath: open the image, then Automate > Script editor, open this file, Run. What needs mending is
 * selected in the image afterwards.
 * From a command line: QuPath script check_my_work.groovy -p project.qpproj
 *
 * It changes nothing. The protocol stands in the next line, where `pathquorum scripts --protocol NAME`
 * has put it; without one, the project's classes are taken. Needs QuPath 0.5 or later.
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

List<String> levelsOf(String written) {
    return written.split(":").collect { it.strip() }.findAll { !it.isEmpty() }
}

Pattern wildcards(String text) {
    StringBuilder rule = new StringBuilder()
    Matcher piece = text =~ /\*+|\?|[^*?]+/
    while (piece.find())
        rule.append(piece.group().startsWith("*") ? ".*" : piece.group() == "?" ? "." : Pattern.quote(piece.group()))
    return Pattern.compile(rule.toString(), Pattern.DOTALL)
}

// What `pathquorum pull` makes of a class: [kind, the protocol's class].
List<String> meaningOf(String written, Map<String, String> names, List<List> patterns) {
    List<String> levels = levelsOf(written)
    List<String> renamed = levels.collect { names.containsKey(it) ? names[it] : it }
    for (int n = levels.size(); n > 0; n--) {
        String whole = levels.take(n).join(": ")
        if (names.containsKey(whole))
            return ["class", names[whole]]
        List fits = patterns.find { whole == it[1] || it[2].matcher(whole).matches() }
        if (fits != null)
            return [fits[0], null]
        String again = levelsOf(renamed.take(n).join(": ")).join(": ")
        if (names.containsKey(again))
            return ["class", names[again]]
    }
    return ["unmapped", null]
}

def imageData = getCurrentImageData()
if (imageData == null) {
    println "No image is open: open the image that you have annotated."
    return
}
def protocol = PROTOCOL.isEmpty() ? null : GsonTools.getInstance().fromJson(new String(PROTOCOL.decodeBase64(), "UTF-8"), Map.class)
List<String> ofProject = getProject() == null ? [] : getProject().getPathClasses().collect { it.toString() }
Map<String, String> names = protocol != null ? protocol.names : ofProject.collectEntries { [it, it] }
List<String> domainClasses = protocol != null ? protocol.domain : []
List<List> patterns = domainClasses.collect { ["domain", it, wildcards(it)] }
if (protocol != null)
    patterns.addAll(protocol.ignore.collect { ["ignored", it, wildcards(it)] })
List<String> known = (names.keySet() as List) + patterns.collect { it[1] }
boolean needsDomain = protocol != null && protocol.needs_domain
Map<String, List<String>> meanings = [:]
def meaning = { PathObject it ->
    String written = it.getPathClass().toString()
    if (!meanings.containsKey(written))
        meanings[written] = meaningOf(written, names, patterns)
    meanings[written]
}

List<PathObject> mine = new ArrayList<>(imageData.getHierarchy().getAnnotationObjects()).findAll { !it.getMetadata().containsKey("pathquorum") }
List<String> told = []
Set<PathObject> toMend = new LinkedHashSet<>()
def tell = { List<PathObject> things, String one, String many ->
    if (!things.isEmpty()) {
        told.add(things.size() + " " + (things.size() == 1 ? one : many))
        toMend.addAll(things)
    }
}

tell(mine.findAll { it.getPathClass() == null }, "annotation has no class", "annotations have no class")
Map<String, List<PathObject>> strange = mine.findAll {
    it.getPathClass() != null && !known.isEmpty() && meaning(it)[0] == "unmapped"
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

def isDomain = { PathObject it -> it.getPathClass() != null && meaning(it)[0] == "domain" }
List<PathObject> domain = outlines.keySet().findAll { isDomain(it) } as List
if (needsDomain && domain.isEmpty())
    told.add("nothing says what you have read: draw an annotation of the class '" + domainClasses[0] + "' around it")
List<PathObject> rated = outlines.keySet().findAll {
    it.getPathClass() != null && !(meaning(it)[0] in ["domain", "ignored"])
} as List
if (needsDomain && !domain.isEmpty()) {
    Geometry whole = domain.collect { outlines.get(it) }.inject { one, other -> one.union(other) }
    tell(rated.findAll { !outlines.get(it).intersects(whole) }, "annotation lies outside what you have read",
        "annotations lie outside what you have read")
}

// An annotation inside another is fine; two of different classes that cross each other are not.
STRtree tree = new STRtree()
rated.each { if (it.getROI().isArea()) tree.insert(outlines.get(it).getEnvelopeInternal(), it) }
Set<PathObject> crossing = new LinkedHashSet<>()
for (PathObject thing : rated.findAll { it.getROI().isArea() }) {
    Geometry one = outlines.get(thing)
    for (other in tree.query(one.getEnvelopeInternal())) {
        if (other.is(thing) || other.getPathClass() == thing.getPathClass() || (meaning(thing)[1] != null && meaning(thing)[1] == meaning(other)[1]))
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
