/*
 * Sets the project's classes and their colours to those of a protocol, in its order.
 *
 * In QuPath: open the project, then Automate > Script editor, open this file, Run.
 * From a command line: QuPath script set_up_classes.groovy -p project.qpproj
 *
 * The protocol stands in the next line, where `pathquorum scripts --protocol NAME` has put it. Your
 * annotations stay as they are.
 */
PROTOCOL = ""

import qupath.lib.common.ColorTools
import qupath.lib.io.GsonTools
import qupath.lib.objects.classes.PathClass

import static qupath.lib.scripting.QP.*

if (PROTOCOL.isEmpty()) {
    println "This script knows no protocol: hand it out with `pathquorum scripts --to FOLDER --protocol NAME`."
    return
}
if (getProject() == null) {
    println "No project is open."
    return
}
def protocol = GsonTools.getInstance().fromJson(new String(PROTOCOL.decodeBase64(), "UTF-8"), Map.class)
List<PathClass> classes = []
for (said in protocol.classes) {
    PathClass one = PathClass.fromString(said.name)
    if (said.color != null)
        one.setColor(ColorTools.packRGB(said.color[0] as int, said.color[1] as int, said.color[2] as int))
    classes.add(one)
}
// QuPath ignores a list that is as long as the one before, so that one goes first.
getProject().setPathClasses([])
getProject().setPathClasses(classes)
if (getProject().getPathClasses() as List != classes) {
    println "QuPath did not take the classes: it has " + getProject().getPathClasses().join(", ") + "."
    return
}
getProject().syncChanges()
// An open window keeps a list of its own and would write that over the project's. From a command line
// there is no window, nor the classes to ask for one.
try {
    def window = Class.forName("qupath.lib.gui.QuPathGUI").getMethod("getInstance").invoke(null)
    if (window != null) {
        Runnable show = { window.getAvailablePathClasses().setAll([PathClass.NULL_CLASS] + classes) }
        Class.forName("javafx.application.Platform").getMethod("runLater", Runnable).invoke(null, show)
    }
} catch (ClassNotFoundException | LinkageError ignored) {
}
println "The project has the " + classes.size() + " classes of " + protocol.name + " " + protocol.version + ": " + classes.join(", ") + "."
