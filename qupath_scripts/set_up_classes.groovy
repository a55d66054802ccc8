/*
 * Sets the project's classes and their colours to those of a protocol, in its order.
 *
 * In QuPath: open the project, then Automate > Script editor, open this file, Run; then close the
 * project and open it again to see the classes.
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
println "The project has the " + classes.size() + " classes of " + protocol.name + " " + protocol.version + ": " + classes.join(", ") + "."
