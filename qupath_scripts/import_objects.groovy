/*
 * Brings a consensus or predictions that `pathquorum push` wrote into the open image, or takes them out.
 *
 * In QuPath: open the image, then Automate > Script editor, open this file, and Run: it asks for the
 * .geojson or .geojson.gz file.
 * From a command line: QuPath script import_objects.groovy -p project.qpproj -i IMAGE -a FILE
 * and out again: the same with -a revert [-a FILE]
 * FILE may be a folder: then the file that bears the image's name is taken.
 *
 * It adds only what isn't there yet, and takes out only what bears pathquorum's mark and is as it came:
 * one that you unlocked, named otherwise or gave another class stays, and with FILE also one whose
 * outline you changed, which can't be told without it. What you drew is never changed.
 *
 * The image is saved afterwards, unless it holds changes of yours that you have not saved: then that is
 * left to you. Needs QuPath 0.5 or later.
 */
import java.util.zip.GZIPInputStream

import org.locationtech.jts.algorithm.distance.DiscreteHausdorffDistance

import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject

import static qupath.lib.scripting.QP.*

boolean isOurs(PathObject thing) {
    return thing.getMetadata().containsKey("pathquorum")
}

// Why saving could lose what the image holds on disk; null if it can't. QuPath opens data that was cut
// short as an image without objects, and a save makes that final.
String whyNotSave(entry) {
    File folder = entry.getEntryPath().toFile()
    File data = new File(folder, "data.qpdata")
    if (new File(folder, "data.qpdata.bkp").isFile())
        return "a save of this image was interrupted (data.qpdata.bkp is there)"
    if (!data.isFile())
        return null
    byte[] end = [0x74, 0, 3, 0x45, 0x4f, 0x46] as byte[]
    byte[] last = new byte[end.length]
    data.withInputStream { stream ->
        stream.skipNBytes(Math.max(0L, data.length() - end.length))
        stream.readNBytes(last, 0, last.length)
    }
    if (!Arrays.equals(end, last))
        return "the data of this image is cut short"
    File summary = new File(folder, "summary.json")
    if (!summary.isFile())
        return null
    def told = GsonTools.getInstance().fromJson(summary.getText("UTF-8"), Map.class)
    if (told?.hierarchy?.nObjects == null)
        return null
    int expected = (told.hierarchy.nObjects as int) - 1
    int found = entry.readHierarchy().getAllObjects(false).size()
    return found == expected ? null : "the saved data of this image gives " + found + " of " + expected + " objects"
}

// The file that was named, or in a folder that which bears the image's name; null, and said, if there is none.
File fileOf(File named, String name) {
    if (named.isDirectory()) {
        List<String> stems = [name, name.contains(".") ? name.substring(0, name.lastIndexOf(".")) : name]
        File found = stems.collectMany { [new File(named, it + ".geojson"), new File(named, it + ".geojson.gz")] }.find { it.isFile() }
        if (found == null)
            println "Nothing in " + named + " is named after " + name + "."
        return found
    }
    if (!named.isFile()) {
        println "There is no file " + named + "."
        return null
    }
    return named
}

// All objects of a file; null, and said, if QuPath does not read all of them.
List<PathObject> objectsOf(File file, String soNothing) {
    byte[] content = file.newInputStream().withCloseable { raw ->
        InputStream stream = file.getName().endsWith(".gz") ? new GZIPInputStream(raw) : raw
        stream.getBytes()
    }
    List<PathObject> read = []
    try {
        read.addAll(PathIO.readObjectsFromGeoJSON(new ByteArrayInputStream(content)))
    } catch (Exception error) {
        println "QuPath can't read " + file.getName() + " (" + error.getClass().getSimpleName() + "), so " + soNothing + "."
        return null
    }
    // QuPath leaves out what it can't read without a word.
    int written = (new String(content, "UTF-8") =~ /"type"\s*:\s*"Feature"/).size()
    if (read.size() != written) {
        println "QuPath reads " + read.size() + " of " + written + " objects in " + file.getName() + ", so " + soNothing + "."
        return null
    }
    return read
}

List words = binding.hasVariable("args") && binding.getVariable("args") ? binding.getVariable("args").collect { it.toString() } : []
def imageData = getCurrentImageData()
if (imageData == null) {
    println "No image is open: open the image that the objects belong to."
    return
}
def hierarchy = imageData.getHierarchy()
def entry = getProjectEntry()
String imageName = entry == null ? imageData.getServer().getMetadata().getName() : entry.getImageName()
boolean unsaved = imageData.isChanged()
String danger = entry == null ? null : whyNotSave(entry)
if (danger != null) {
    println "Nothing was changed, for " + danger + ": open the image, check that your annotations are all there, and save it."
    return
}
def save = {
    if (entry != null && !unsaved)
        entry.saveImageData(imageData)
    else if (entry != null)
        println "The image holds changes that you have not saved: save it yourself (File > Save)."
}

if (words.contains("revert")) {
    List<String> files = words - "revert"
    Map<UUID, PathObject> pushed = [:]
    if (!files.isEmpty()) {
        File file = fileOf(new File(files[0]), imageName)
        List<PathObject> read = file == null ? null : objectsOf(file, "nothing was taken out")
        if (read == null)
            return
        read.each { pushed.put(it.getID(), it) }
    }
    // QuPath keeps vertices as float32, which moves them by up to 0.016 px.
    def isMoved = { PathObject thing ->
        PathObject came = pushed.get(thing.getID())
        came != null && new DiscreteHausdorffDistance(came.getROI().getGeometry(), thing.getROI().getGeometry()).distance() > 0.05
    }
    List<PathObject> ours = new ArrayList<>(hierarchy.getAllObjects(false)).findAll { isOurs(it) }
    List<PathObject> changed = ours.findAll {
        !it.isLocked() || it.getPathClass() == null || it.getName() == null || !it.getName().endsWith(": " + it.getPathClass()) || isMoved(it)
    }
    ours.removeAll(changed)
    hierarchy.removeObjects(ours, true)
    save()
    changed.each { println "Stays, for it was changed: " + it.getName() + " (" + it.getID() + ")" }
    println "Took out " + ours.size() + " objects of pathquorum's; what you drew is as it was."
    return
}

File named = null
if (!words.isEmpty()) {
    named = new File(words[0])
} else {
    try {
        def dialogs = Class.forName("qupath.fx.dialogs.FileChoosers")
        named = dialogs.promptForFile("What to import")
    } catch (Exception | LinkageError error) {
        println "Say which file: -a FILE."
        return
    }
}
File file = named == null ? null : fileOf(named, imageName)
List<PathObject> read = file == null ? null : objectsOf(file, "nothing was imported")
if (read == null)
    return
Set<UUID> there = hierarchy.getAllObjects(false).collect { it.getID() } as Set
List<PathObject> fresh = read.findAll { there.add(it.getID()) }
int foreign = fresh.count { !isOurs(it) }
if (foreign > 0) {
    println foreign + " objects in " + file.getName() + " don't bear pathquorum's mark, so nothing was imported: is it the right file?"
    return
}
fresh.each { it.setLocked(true) }
hierarchy.addObjects(fresh)
save()
println "Imported " + fresh.size() + " objects; " + (read.size() - fresh.size()) + " were there already."
