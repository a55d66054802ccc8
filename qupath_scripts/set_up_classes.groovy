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

import groovy.json.JsonSlurper

import qupath.lib.common.ColorTools
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
def protocol = new JsonSlurper().parseText(new String(PROTOCOL.decodeBase64(), "UTF-8"))
List<PathClass> classes = []
for (said in protocol.classes) {
    PathClass one = PathClass.fromString(said.name)
    if (said.color != null)
        one.setColor(ColorTools.packRGB(said.color[0], said.color[1], said.color[2]))
    classes.add(one)
}
getProject().setPathClasses(classes)
getProject().syncChanges()
println "The project has the " + classes.size() + " classes of " + protocol.name + " " + protocol.version + ": " + classes.join(", ") + "."
