/*
 * Writes your annotations as GeoJSON files that `pathquorum pull` takes, one file an image.
 *
 * In QuPath: Automate > Script editor, open this file, Run. With an image open it writes that image's
 * objects, without one those of all images of the project that somebody has saved. The files go into
 * the folder "exports" of the project.
 * From a command line: QuPath script export_annotations.groovy -p project.qpproj [-a FOLDER]
 *
 * All objects of an image are written, detections too. It changes nothing in the project. An object that
 * QuPath can't write is named, and the others are written all the same. Needs QuPath 0.5 or later.
 */
import java.nio.charset.StandardCharsets
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.time.Instant

import qupath.lib.common.GeneralTools
import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject

import static qupath.lib.scripting.QP.*

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

// When the image's data was saved; null where it never was, or was changed since.
String savedAt(entry, imageData) {
    File data = entry == null ? null : new File(entry.getEntryPath().toFile(), "data.qpdata")
    return data != null && data.isFile() && !imageData.isChanged() ? Instant.ofEpochMilli(data.lastModified()).toString() : null
}

// Writes the objects of one image.
void export(imageData, entry, File folder) {
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
    def calibration = server.getPixelCalibration()
    Map about = [
        format     : 1,
        project    : getProject() == null ? null : getProject().getName(),
        qupath     : GeneralTools.getVersion(),
        exported_at: Instant.now().toString(),
        saved_at   : savedAt(entry, imageData),
        width_px   : server.getWidth(),
        height_px  : server.getHeight(),
        mpp        : calibration.hasPixelSizeMicrons() ? calibration.getPixelWidthMicrons() : null,
        objects    : objects.size(),
        not_written: failed,
    ]
    def gson = GsonTools.getInstance()
    Map labels = entry == null ? [:] : entry.getMetadataMap()

    def safeName = { it.replaceAll('[\\\\/:*?"<>|]', "_") }
    String safe = safeName(name)
    // Images of one name must not write over each other's file, nor on disks to which A and a are one.
    if (entry != null && getProject().getImageList().count { safeName(it.getImageName()).equalsIgnoreCase(safe) } > 1)
        safe += " - " + entry.getID()
    folder.mkdirs()
    File file = new File(folder, safe + ".geojson")
    File part = new File(folder, safe + ".geojson.part")
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

def imageData = getCurrentImageData()
if (imageData == null && getProject() == null) {
    println "Neither an image nor a project is open: open one."
    return
}
def given = binding.hasVariable("args") && binding.getVariable("args") ? binding.getVariable("args")[0] : null
File folder = given != null ? new File(given.toString())
    : new File(getProject() == null ? new File(".").getAbsoluteFile() : getProject().getPath().getParent().toFile(), "exports")
if (imageData != null) {
    export(imageData, getProjectEntry(), folder)
    return
}
for (entry in getProject().getImageList()) {
    if (!entry.hasImageData()) {
        println "Left out, for nobody has saved it: " + entry.getImageName()
        continue
    }
    def saved = null
    try {
        saved = entry.readImageData()
        export(saved, entry, folder)
    } catch (Exception error) {
        println "Left out, for QuPath can't open it (" + error.getMessage() + "): " + entry.getImageName()
    } finally {
        saved?.getServer()?.close()
    }
}
