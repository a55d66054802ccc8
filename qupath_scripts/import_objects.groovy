/*
 * Brings a consensus or predictions that `pathquorum push` wrote into the open image, or takes them out.
 *
 * In QuPath: open the image, then Automate > Script editor, open this file, and Run: it asks for the
 * .geojson or .geojson.gz file.
 * From a command line: QuPath script import_objects.groovy -p project.qpproj -i IMAGE -a FILE
 * and to take out: ... -a revert [-a FILE]
 * FILE may be a folder: then the file that bears the image's name is taken.
 *
 * It adds only what isn't there yet, and takes out only what bears pathquorum's mark and is locked and
 * named as it came: one that you unlocked or gave another class stays. With FILE, revert takes out only
 * what that file holds, and one whose outline was changed stays as well; without it there is nothing to
 * compare outlines with, and a changed one goes. What you drew is never changed. An image that has changes
 * of yours in an open window is not saved: that is left to you. Needs QuPath 0.5 or later.
 */
import java.util.zip.GZIPInputStream

import org.locationtech.jts.algorithm.distance.DiscreteHausdorffDistance
import org.locationtech.jts.geom.Geometry

import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject
import qupath.lib.roi.interfaces.ROI

import static qupath.lib.scripting.QP.*

// What speaks against an image's saved data before it is read: QuPath opens damaged data as an image without
// objects and says nothing, and the next save makes the loss final. Null where nothing does.
String damageOf(File folder) {
    File data = new File(folder, "data.qpdata")
    if (new File(folder, "data.qpdata.bkp").exists())
        return "a data.qpdata.bkp lies in " + folder + ", so a save was interrupted"
    if (!data.exists())
        return null
    byte[] end = [0x74, 0, 3, 0x45, 0x4F, 0x46] as byte[] // the last that QuPath writes: the word EOF
    byte[] tail = new byte[end.length]
    new RandomAccessFile(data, "r").withCloseable { file ->
        file.seek(Math.max(0L, file.length() - end.length))
        file.read(tail)
    }
    return Arrays.equals(tail, end) ? null : "data.qpdata in " + folder + " is cut short"
}

// What speaks against it once `held` objects came out: the summary beside it tells how many were saved, and
// counts the root too.
String lossOf(File folder, int held) {
    File summary = new File(folder, "summary.json")
    if (!new File(folder, "data.qpdata").exists() || !summary.exists())
        return null
    Object saved = null
    try {
        saved = GsonTools.getInstance().fromJson(summary.getText("UTF-8"), Map.class)?.hierarchy?.nObjects
    } catch (RuntimeException error) {
        return "summary.json in " + folder + " can't be read"
    }
    if (!(saved instanceof Number) || held >= saved.longValue() - 1)
        return null
    return "data.qpdata in " + folder + " gives " + held + " of the " + (saved.longValue() - 1) + " objects that were saved"
}

// Why the open image must not be saved over what is in its project; null where it may.
String reasonNotToSave(entry, imageData) {
    File folder = entry.getEntryPath().toFile()
    String fault = damageOf(folder)
    if (fault != null || !entry.hasImageData())
        return fault
    def saved = entry.readImageData()
    int held = saved.getHierarchy().getAllObjects(false).size()
    saved.getServer().close()
    fault = lossOf(folder, held)
    int open = imageData.getHierarchy().getAllObjects(false).size()
    if (fault == null && !imageData.isChanged() && open != held)
        fault = "the image was saved with " + held + " objects and is open with " + open + " (close it and open it again)"
    return fault
}

// Whether QuPath has a window, in which somebody may be working.
boolean hasWindow() {
    try {
        Class<?> window = Class.forName("qupath.lib.gui.QuPathGUI", true, getClass().getClassLoader())
        return window.getMethod("getInstance").invoke(null) != null
    } catch (ReflectiveOperationException | LinkageError error) {
        return false
    }
}

boolean isOurs(PathObject thing) {
    return thing.getMetadata().containsKey("pathquorum")
}

// The file that a word names, or null once it has been said why there is none.
File fileOf(String word, String imageName) {
    File file = new File(word)
    if (file.isDirectory()) {
        List<String> stems = [imageName, imageName.contains(".") ? imageName.substring(0, imageName.lastIndexOf(".")) : imageName]
        file = stems.collectMany { [new File(word, it + ".geojson"), new File(word, it + ".geojson.gz")] }.find { it.isFile() }
        if (file == null)
            println "Nothing in " + word + " is named after " + imageName + "."
        return file
    }
    if (!file.isFile()) {
        println "There is no file " + file + "."
        return null
    }
    return file
}

// The objects of a file, or null once it has been said why they can't be had.
List<PathObject> objectsOf(File file) {
    List<PathObject> read = []
    byte[] content
    try {
        content = file.newInputStream().withCloseable { raw ->
            InputStream stream = file.getName().endsWith(".gz") ? new GZIPInputStream(raw) : raw
            stream.getBytes()
        }
        read.addAll(PathIO.readObjectsFromGeoJSON(new ByteArrayInputStream(content)))
    } catch (Exception error) {
        println "QuPath can't read " + file.getName() + " (" + error.getClass().getSimpleName() + "), so nothing was changed."
        return null
    }
    // QuPath leaves out what it can't read without a word.
    int written = (new String(content, "UTF-8") =~ /"type"\s*:\s*"Feature"/).size()
    if (read.size() != written) {
        println "QuPath reads " + read.size() + " of " + written + " objects in " + file.getName() + ", so nothing was changed."
        return null
    }
    return read
}

// Whether two outlines are the same within 0.05 px: QuPath rounds to 0.01, and keeps vertices in float32.
boolean sameOutline(ROI one, ROI other) {
    if (one == null || other == null || one.getZ() != other.getZ() || one.getT() != other.getT())
        return false
    try {
        Geometry a = one.getGeometry(), b = other.getGeometry()
        if (a.isEmpty() || b.isEmpty() || a.getDimension() != b.getDimension())
            return false
        if (a.norm().equalsExact(b.norm(), 0.05))
            return true
        return Math.abs(a.getArea() - b.getArea()) <= 0.05 * Math.max(a.getLength(), b.getLength()) &&
            DiscreteHausdorffDistance.distance(a, b) <= 0.05
    } catch (Exception | StackOverflowError error) {
        return false
    }
}

// What a person did to an object of ours; null where nothing is seen. `pushed` is it as it came, where that is known.
String changeOf(PathObject thing, PathObject pushed) {
    if (!thing.isLocked())
        return "it was unlocked"
    if (pushed == null)
        return thing.getPathClass() != null && thing.getName() != null && thing.getName().endsWith(": " + thing.getPathClass()) ? null
            : "it was given another class or name"
    if (thing.getPathClass() != pushed.getPathClass() || thing.getName() != pushed.getName())
        return "it was given another class or name"
    return sameOutline(thing.getROI(), pushed.getROI()) ? null : "its outline was changed"
}

void save(entry, imageData, boolean leave) {
    if (leave)
        println "Not saved, for there are changes of yours in this image that you haven't saved: save it yourself (File > Save)."
    else if (entry != null)
        entry.saveImageData(imageData)
}

List<String> words = binding.hasVariable("args") && binding.getVariable("args") ? binding.getVariable("args").collect { it.toString() } : []
def imageData = getCurrentImageData()
if (imageData == null) {
    println "No image is open: open the image that the objects belong to."
    return
}
def hierarchy = imageData.getHierarchy()
def entry = getProjectEntry()
String imageName = entry == null ? imageData.getServer().getMetadata().getName() : entry.getImageName()
boolean unsaved = hasWindow() && imageData.isChanged()
boolean reverting = words.remove("revert")

File file = null
if (!words.isEmpty()) {
    file = fileOf(words[0], imageName)
    if (file == null)
        return
} else if (!reverting) {
    try {
        file = Class.forName("qupath.fx.dialogs.FileChoosers").promptForFile("What to import")
    } catch (Exception | LinkageError error) {
        println "Say which file: -a FILE."
        return
    }
    if (file == null || !file.isFile()) {
        println "There is no file " + file + "."
        return
    }
}
List<PathObject> read = file == null ? null : objectsOf(file)
if (file != null && read == null)
    return
String reason = entry == null ? null : reasonNotToSave(entry, imageData)
if (reason != null) {
    println "Nothing was changed, for " + reason + ": ask whoever gave you the project before you save this image."
    return
}

if (reverting) {
    List<PathObject> ours = new ArrayList<>(hierarchy.getAllObjects(false)).findAll { isOurs(it) }
    Map<UUID, PathObject> pushed = read == null ? [:] : read.collectEntries { [(it.getID()): it] }
    List<PathObject> others = read == null ? [] : ours.findAll { !pushed.containsKey(it.getID()) }
    ours.removeAll(others)
    List<PathObject> changed = []
    for (PathObject thing : ours) {
        String change = changeOf(thing, pushed.get(thing.getID()))
        if (change != null) {
            println "Stays, for " + change + ": " + thing.getName() + " (" + thing.getID() + ")"
            changed.add(thing)
        }
    }
    ours.removeAll(changed)
    if (!others.isEmpty())
        println others.size() + " other objects of pathquorum's are not in " + file.getName() + " and stay."
    hierarchy.removeObjects(ours, true)
    save(entry, imageData, unsaved)
    println "Took out " + ours.size() + " objects of pathquorum's; what you drew is as it was."
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
save(entry, imageData, unsaved)
println "Imported " + fresh.size() + " objects; " + (read.size() - fresh.size()) + " were there already."
