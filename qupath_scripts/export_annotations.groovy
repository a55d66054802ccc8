/*
 * Writes your annotations as GeoJSON files that `pathquorum pull` takes, one file an image.
 *
 * In QuPath: Automate > Script editor, open this file, Run. With an image open it writes that image's
 * objects; with only the project open, those of all its images that were ever saved, as Run > Run for
 * project does too. The files go into the folder "exports" of the project.
 * From a command line: QuPath script export_annotations.groovy -p project.qpproj [-a FOLDER]
 * which runs it for each image. With -i IMAGE -a all it writes all images, whichever is open.
 *
 * All objects of an image are written, detections too. It changes nothing in the project. An object that
 * QuPath can't write is named, and the others are written all the same; so is an image that is left out.
 */
import java.nio.charset.StandardCharsets
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.text.Normalizer
import java.time.Instant

import qupath.lib.common.GeneralTools
import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject

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

// Features of some objects as JSON, one after the other; those that can't be written go to `failed`.
String featuresOf(List<PathObject> objects, List<String> failed) {
    if (objects.isEmpty())
        return ""
    ByteArrayOutputStream buffer = new ByteArrayOutputStream()
    try {
        PathIO.exportObjectsAsGeoJSON(buffer, objects)
        String text = new String(buffer.toByteArray(), StandardCharsets.UTF_8).trim()
        return text.startsWith("[") ? text.substring(1, text.length() - 1) : text
    } catch (Exception | StackOverflowError error) {
        if (objects.size() == 1) {
            PathObject thing = objects.get(0)
            failed.add(thing.getDisplayedName() + " (" + thing.getID() + "): " + error.getClass().getSimpleName())
            return ""
        }
    }
    List<String> parts = []
    for (PathObject thing : objects)
        parts.add(featuresOf([thing], failed))
    return parts.findAll { !it.isEmpty() }.join(",")
}

String safeName(String name) {
    return name.replaceAll('[\\\\/:*?"<>|]', "_")
}

// The files' names by entry id. Names that some file systems take for the same get the id behind them.
Map<String, String> fileNames(List entries) {
    Map<String, String> names = entries.collectEntries { [(it.getID()): safeName(it.getImageName())] }
    while (true) {
        Map<String, List<String>> alike = names.keySet().groupBy {
            Normalizer.normalize(names.get(it), Normalizer.Form.NFC).toUpperCase(Locale.ROOT).toLowerCase(Locale.ROOT)
        }
        List<String> clashing = alike.values().findAll { it.size() > 1 }.flatten()
        if (clashing.isEmpty())
            return names
        clashing.each { names.put(it, names.get(it) + " - " + it) }
    }
}

// Writes the objects of one image, and says so.
void export(imageData, entry, String fileName, File folder) {
    def server = imageData.getServer()
    String name = entry == null ? server.getMetadata().getName() : entry.getImageName()
    List<PathObject> objects = new ArrayList<>(imageData.getHierarchy().getAllObjects(false))
    List<String> failed = []
    List<String> chunks = []
    for (int first = 0; first < objects.size(); first += 1000) {
        String text = featuresOf(objects.subList(first, Math.min(first + 1000, objects.size())), failed)
        if (!text.isEmpty())
            chunks.add(text)
    }
    File data = entry == null ? null : new File(entry.getEntryPath().toFile(), "data.qpdata")
    // What was changed since is of now, not of when it was saved.
    boolean asSaved = data != null && data.exists() && !imageData.isChanged()
    def calibration = server.getPixelCalibration()
    Map about = [
        format     : 1,
        project    : getProject() == null ? null : getProject().getName(),
        qupath     : GeneralTools.getVersion(),
        exported_at: Instant.now().toString(),
        saved_at   : asSaved ? Files.getLastModifiedTime(data.toPath()).toInstant().toString() : null,
        width_px   : server.getWidth(),
        height_px  : server.getHeight(),
        mpp        : calibration.hasPixelSizeMicrons() ? calibration.getPixelWidthMicrons() : null,
        objects    : objects.size(),
        not_written: failed,
    ]
    def gson = GsonTools.getInstance()
    Map labels = entry == null ? [:] : entry.getMetadataMap()
    folder.mkdirs()
    File file = new File(folder, fileName + ".geojson")
    File part = new File(folder, fileName + ".geojson.part")
    part.withWriter("UTF-8") { writer ->
        writer.write('{"type":"FeatureCollection","image":' + gson.toJson([name: name]))
        writer.write(',"metadata":' + gson.toJson(labels) + ',"pathquorum":' + gson.toJson(about))
        writer.write(',"features":[')
        for (int i = 0; i < chunks.size(); i++) {
            if (i > 0)
                writer.write(",\n")
            writer.write(chunks.get(i))
        }
        writer.write("]}\n")
    }
    Files.move(part.toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING)
    println "Wrote " + (objects.size() - failed.size()) + " of " + objects.size() + " objects of " + name + " to " + file
    for (String line : failed)
        println "Not written, QuPath can't: " + line
}

// Why the saved data of an image can't be exported; else it has been.
String exportSaved(entry, String fileName, File folder) {
    File place = entry.getEntryPath().toFile()
    String fault = damageOf(place)
    if (fault == null && !entry.hasImageData())
        fault = "nothing was ever saved"
    if (fault != null)
        return fault
    def imageData = null
    try {
        imageData = entry.readImageData()
        fault = lossOf(place, imageData.getHierarchy().getAllObjects(false).size())
        if (fault == null)
            export(imageData, entry, fileName, folder)
        return fault
    } catch (IOException error) {
        return "it can't be opened (" + error.getMessage() + ")"
    } finally {
        imageData?.getServer()?.close()
    }
}

List<String> words = binding.hasVariable("args") && binding.getVariable("args") ? binding.getVariable("args").collect { it.toString() } : []
def imageData = getCurrentImageData()
def project = getProject()
boolean all = words.remove("all") || imageData == null
if (project == null && all) {
    println "No project is open, and no image: open one."
    return
}
def entry = getProjectEntry()
File folder = !words.isEmpty() ? new File(words[0])
    : new File(project == null ? new File(".").getAbsoluteFile() : project.getPath().getParent().toFile(), "exports")
Map<String, String> names = project == null ? [:] : fileNames(project.getImageList())
if (!all) {
    String fault = entry == null ? null : damageOf(entry.getEntryPath().toFile())
    if (fault == null && entry != null && !imageData.isChanged())
        fault = lossOf(entry.getEntryPath().toFile(), imageData.getHierarchy().getAllObjects(false).size())
    if (fault != null)
        println "Nothing was written, for " + fault + ": ask whoever gave you the project before you save this image."
    else
        export(imageData, entry, entry == null ? safeName(imageData.getServer().getMetadata().getName()) : names.get(entry.getID()), folder)
    return
}
int written = 0
for (one in project.getImageList()) {
    String fault = exportSaved(one, names.get(one.getID()), folder)
    if (fault == null)
        written++
    else
        println "Left out " + one.getImageName() + ": " + fault + "."
}
if (entry != null && imageData.isChanged())
    println "What you changed in " + entry.getImageName() + " since you last saved it is not in its file: save it, then run this again."
println "Wrote " + written + " of the project's " + project.getImageList().size() + " images to " + folder + "."
