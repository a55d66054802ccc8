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

// An open window has a list of its own, which it would write over the project's at the next change.
// Both classes are reached by name, for QuPath without a window may have neither. The tests put stand-ins in
// their places: nobody has seen it in a real window.
void showInWindow(List<PathClass> classes) {
    try {
        ClassLoader loader = getClass().getClassLoader()
        def window = Class.forName("qupath.lib.gui.QuPathGUI", true, loader).getMethod("getInstance").invoke(null)
        if (window == null)
            return
        // The window's list begins with "no class", as when it opens a project.
        List<PathClass> shown = [PathClass.NULL_CLASS] + classes
        Class.forName("javafx.application.Platform", true, loader).getMethod("runLater", Runnable)
            .invoke(null, { window.getAvailablePathClasses().setAll(shown) } as Runnable)
    } catch (ReflectiveOperationException | LinkageError error) {
        return
    }
}

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
showInWindow(classes)
println "The project has the " + classes.size() + " classes of " + protocol.name + " " + protocol.version + ": " + classes.join(", ") + "."
