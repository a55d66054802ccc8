/*
 * Brings a consensus or predictions that `pathquorum push` wrote into the open image, or takes them out.
 *
 * In QuPath: open the image, then Automate > Script editor, open this file, and Run: it asks for the
 * .geojson or .geojson.gz file.
 * From a command line: QuPath script import_objects.groovy -p project.qpproj -i IMAGE -a FILE [-a revert]
 * FILE may be a folder: then the file that bears the image's name is taken.
 *
 * It adds only what isn't there yet, and takes out only what bears pathquorum's mark and is locked and
 * named as it came: one that you unlocked or gave another class stays. What you drew is
 * never changed. Needs QuPath 0.5 or later.
 */
import java.util.zip.GZIPInputStream

import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject

import static qupath.lib.scripting.QP.*

boolean isOurs(PathObject thing) {
    return thing.getMetadata().containsKey("pathquorum")
}

List words = binding.hasVariable("args") && binding.getVariable("args") ? binding.getVariable("args").collect { it.toString() } : []
def imageData = getCurrentImageData()
if (imageData == null) {
    println "No image is open: open the image that the objects belong to."
    return
}
def hierarchy = imageData.getHierarchy()
def entry = getProjectEntry()

void save(entry, imageData) {
    if (entry != null)
        entry.saveImageData(imageData)
}

if (words.contains("revert")) {
    List<PathObject> ours = new ArrayList<>(hierarchy.getAllObjects(false)).findAll { isOurs(it) }
    List<PathObject> changed = ours.findAll {
        !it.isLocked() || it.getPathClass() == null || it.getName() == null || !it.getName().endsWith(": " + it.getPathClass())
    }
    ours.removeAll(changed)
    hierarchy.removeObjects(ours, true)
    save(entry, imageData)
    changed.each { println "Stays, for it was unlocked or given another class: " + it.getName() + " (" + it.getID() + ")" }
    println "Took out " + ours.size() + " objects of pathquorum's; what you drew is as it was."
    return
}

File file = null
if (!words.isEmpty()) {
    file = new File(words[0])
    if (file.isDirectory()) {
        String name = entry == null ? imageData.getServer().getMetadata().getName() : entry.getImageName()
        List<String> stems = [name, name.contains(".") ? name.substring(0, name.lastIndexOf(".")) : name]
        File folder = file
        file = stems.collectMany { [new File(folder, it + ".geojson"), new File(folder, it + ".geojson.gz")] }.find { it.isFile() }
        if (file == null) {
            println "Nothing in " + folder + " is named after " + name + "."
            return
        }
    }
} else {
    try {
        def dialogs = Class.forName("qupath.fx.dialogs.FileChoosers")
        file = dialogs.promptForFile("What to import")
    } catch (Exception | LinkageError error) {
        println "Say which file: -a FILE."
        return
    }
}
if (file == null || !file.isFile()) {
    println "There is no file " + file + "."
    return
}
byte[] content = file.newInputStream().withCloseable { raw ->
    InputStream stream = file.getName().endsWith(".gz") ? new GZIPInputStream(raw) : raw
    stream.getBytes()
}
List<PathObject> read = []
try {
    read.addAll(PathIO.readObjectsFromGeoJSON(new ByteArrayInputStream(content)))
} catch (Exception error) {
    println "QuPath can't read " + file.getName() + " (" + error.getClass().getSimpleName() + "), so nothing was imported."
    return
}
// QuPath leaves out what it can't read without a word.
int written = (new String(content, "UTF-8") =~ /"type"\s*:\s*"Feature"/).size()
if (read.size() != written) {
    println "QuPath reads " + read.size() + " of " + written + " objects in " + file.getName() + ", so nothing was imported."
    return
}
Set<UUID> there = hierarchy.getAllObjects(false).collect { it.getID() } as Set
List<PathObject> fresh = read.findAll { there.add(it.getID()) }
int foreign = fresh.count { !isOurs(it) }
if (foreign > 0) {
    println foreign + " objects in " + file.getName() + " don't bear pathquorum's mark, so nothing was imported: is it the right file?"
    return
}
fresh.each { it.setLocked(true) }
hierarchy.addObjects(fresh)
save(entry, imageData)
println "Imported " + fresh.size() + " objects; " + (read.size() - fresh.size()) + " were there already."
