import groovy.transform.CompileStatic

import java.nio.ByteBuffer
import java.nio.ByteOrder

import org.locationtech.jts.io.WKBReader
import org.locationtech.jts.io.WKBWriter

import qupath.lib.measurements.MeasurementList
import qupath.lib.geom.Point2
import qupath.lib.io.PathIO
import qupath.lib.objects.PathCellObject
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjectTools
import qupath.lib.objects.PathObjects
import qupath.lib.objects.PathTileObject
import qupath.lib.objects.TMACoreObject
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.EllipseROI
import qupath.lib.roi.GeometryTools
import qupath.lib.roi.LineROI
import qupath.lib.roi.PointsROI
import qupath.lib.roi.PolygonROI
import qupath.lib.roi.PolylineROI
import qupath.lib.roi.ROIs
import qupath.lib.roi.RectangleROI
import qupath.lib.roi.interfaces.ROI

/*
 * Not for the script editor: pathquorum compiles this class inside the Java that runs QuPath's core,
 * to read and write all objects of an image at once. Objects are columns of numbers, and outlines
 * well-known binary; a polygon's vertices are taken as they are, since QuPath's own way through
 * JTS rounds them to 0.01 px and takes twenty times as long.
 */
@CompileStatic
class PathObjectColumns {

    static final byte ANNOTATION = 0, DETECTION = 1, CELL = 2, TILE = 3, TMA_CORE = 4
    static final byte POLYGON = 0, RECTANGLE = 1, ELLIPSE = 2, LINE = 3, POLYLINE = 4, POINTS = 5, OTHER = 6
    static final int LOCKED = 1, COLORED = 2, MISSING = 4

    /** How many objects; those that could not be read stand in `rejected` and `reasons` instead. */
    int n = 0
    long[] uuid, parent
    byte[] kind, flags, shape, nucleusShape
    int[] pathClass, name, color, z, t, c, measurementEnd, metadataEnd
    long[] outlineEnd, nucleusEnd
    byte[] wkb = new byte[1 << 16]
    int[] measurementName = new int[1 << 10], metadata = new int[16]
    double[] measurement = new double[1 << 10]
    final List<String> texts = new ArrayList<String>()
    final List<String> classNames = new ArrayList<String>()
    final List<Integer> classColors = new ArrayList<Integer>()
    final List<String> rejected = new ArrayList<String>()
    final List<String> reasons = new ArrayList<String>()

    private final Map<String, Integer> textNumbers = new HashMap<String, Integer>()
    private final Map<PathClass, Integer> classNumbers = new IdentityHashMap<PathClass, Integer>()
    private int wkbSize = 0, nMeasurements = 0, nMetadata = 0

    private PathObjectColumns(int capacity) {
        uuid = new long[2 * capacity]
        parent = new long[2 * capacity]
        kind = new byte[capacity]
        flags = new byte[capacity]
        shape = new byte[capacity]
        nucleusShape = new byte[capacity]
        pathClass = new int[capacity]
        name = new int[capacity]
        color = new int[capacity]
        z = new int[capacity]
        t = new int[capacity]
        c = new int[capacity]
        measurementEnd = new int[capacity]
        metadataEnd = new int[capacity]
        outlineEnd = new long[capacity]
        nucleusEnd = new long[capacity]
    }

    /**
     * What stands in a data.qpdata one behind the other: its first line, then everything up to and
     * including the word EOF. Read here, because Java looks for classes where its caller comes from.
     */
    static List<Object> contentOf(InputStream stream) {
        ObjectInputStream objects = PathIO.createObjectInputStream(stream)
        List<Object> content = new ArrayList<Object>()
        content.add(objects.readUTF())
        while (content.size() == 1 || !"EOF".equals(content.get(content.size() - 1)))
            content.add(objects.readObject())
        return content
    }

    /** All objects below one, parents before their children. */
    static List<PathObject> below(PathObject root) {
        List<PathObject> found = new ArrayList<PathObject>(Arrays.asList(root.getChildObjectsAsArray()))
        for (int i = 0; i < found.size(); i++) {
            PathObject thing = found.get(i)
            if (thing.hasChildObjects())
                found.addAll(Arrays.asList(thing.getChildObjectsAsArray()))
        }
        return found
    }

    /** Columns of some objects. */
    static PathObjectColumns read(List<PathObject> objects) {
        PathObjectColumns columns = new PathObjectColumns(objects.size())
        for (PathObject thing : objects) {
            int size = columns.wkbSize, measured = columns.nMeasurements, noted = columns.nMetadata
            try {
                columns.add(thing)
            } catch (Exception | StackOverflowError error) {
                columns.wkbSize = size
                columns.nMeasurements = measured
                columns.nMetadata = noted
                columns.rejected.add(thing.getID().toString())
                columns.reasons.add(reasonOf(thing, error))
            }
        }
        columns.wkb = Arrays.copyOf(columns.wkb, columns.wkbSize)
        columns.measurementName = Arrays.copyOf(columns.measurementName, columns.nMeasurements)
        columns.measurement = Arrays.copyOf(columns.measurement, columns.nMeasurements)
        columns.metadata = Arrays.copyOf(columns.metadata, columns.nMetadata)
        return columns
    }

    /** Hang objects below those that the columns name as their parents, or below the root. */
    void attach(List<PathObject> made, PathObject root) {
        Map<UUID, PathObject> known = new HashMap<UUID, PathObject>()
        for (PathObject thing : below(root))
            known.put(thing.getID(), thing)
        for (PathObject thing : made) {
            if (known.put(thing.getID(), thing) != null)
                throw new IllegalArgumentException("object " + thing.getID() + " is there already")
        }
        Map<PathObject, List<PathObject>> children = new LinkedHashMap<PathObject, List<PathObject>>()
        for (int i = 0; i < n; i++) {
            PathObject above = root
            if (parent[2 * i] != 0L || parent[2 * i + 1] != 0L) {
                UUID id = new UUID(parent[2 * i], parent[2 * i + 1])
                above = known.get(id)
                if (above == null)
                    throw new IllegalArgumentException("object " + id + ", which should hold another, is not there")
            }
            held(children, above).add(made.get(i))
        }
        for (Map.Entry<PathObject, List<PathObject>> entry : children.entrySet())
            entry.getKey().addChildObjects(entry.getValue())
    }

    /** Take objects out; what hangs below them moves up to where they hung. */
    static void remove(PathObject root, Collection<String> uuids) {
        Set<String> left = new HashSet<String>(uuids)
        List<PathObject> leaving = new ArrayList<PathObject>()
        for (PathObject thing : below(root)) {
            if (left.remove(thing.getID().toString()))
                leaving.add(thing)
        }
        if (!left.isEmpty())
            throw new IllegalArgumentException("object " + left.iterator().next() + " is not there")
        // Where each one's children move to: parents come before their children.
        Map<PathObject, PathObject> kept = new IdentityHashMap<PathObject, PathObject>()
        Map<PathObject, List<PathObject>> of = new IdentityHashMap<PathObject, List<PathObject>>()
        Map<PathObject, List<PathObject>> up = new IdentityHashMap<PathObject, List<PathObject>>()
        for (PathObject thing : leaving) {
            PathObject above = thing.getParent()
            held(of, above).add(thing)
            kept.put(thing, kept.containsKey(above) ? kept.get(above) : above)
        }
        for (PathObject thing : leaving) {
            for (PathObject child : thing.getChildObjectsAsArray()) {
                if (!kept.containsKey(child))
                    held(up, kept.get(thing)).add(child)
            }
        }
        for (Map.Entry<PathObject, List<PathObject>> entry : of.entrySet())
            entry.getKey().removeChildObjects(entry.getValue())
        for (Map.Entry<PathObject, List<PathObject>> entry : up.entrySet())
            entry.getKey().addChildObjects(entry.getValue())
    }

    private static List<PathObject> held(Map<PathObject, List<PathObject>> lists, PathObject by) {
        List<PathObject> list = lists.get(by)
        if (list == null) {
            list = new ArrayList<PathObject>()
            lists.put(by, list)
        }
        return list
    }

    /** How many objects of each type and class, as QuPath's summary.json counts them. */
    static Map<String, Map<String, Long>> counts(PathObject root) {
        Map<String, Map<String, Long>> counts = new LinkedHashMap<String, Map<String, Long>>()
        for (String which : ["objectTypeCounts", "annotationClassificationCounts", "detectionClassificationCounts"])
            counts.put(which, new TreeMap<String, Long>())
        List<PathObject> all = below(root)
        all.add(root)
        for (PathObject thing : all) {
            count(counts.get("objectTypeCounts"), PathObjectTools.getSuitableName(thing.getClass(), true))
            if (!thing.isAnnotation() && !thing.isDetection())
                continue
            PathClass of = thing.getPathClass()
            String which = thing.isAnnotation() ? "annotationClassificationCounts" : "detectionClassificationCounts"
            count(counts.get(which), of == null ? "Unclassified" : of.toString())
        }
        return counts
    }

    private static void count(Map<String, Long> counts, String what) {
        Long before = counts.get(what)
        counts.put(what, before == null ? 1L : before.longValue() + 1L)
    }

    private static String reasonOf(PathObject thing, Throwable error) {
        ROI roi = thing.getROI()
        String what = roi == null ? "object without an outline" : roi.getRoiName()
        return "QuPath can't give this " + what + " (" + error.toString() + ")"
    }

    private void add(PathObject thing) {
        int i = n
        ROI roi = thing.getROI()
        if (roi == null)
            throw new IllegalArgumentException("it has no outline")
        UUID id = thing.getID()
        uuid[2 * i] = id.getMostSignificantBits()
        uuid[2 * i + 1] = id.getLeastSignificantBits()
        PathObject above = thing.getParent()
        boolean nested = above != null && !above.isRootObject()
        parent[2 * i] = nested ? above.getID().getMostSignificantBits() : 0L
        parent[2 * i + 1] = nested ? above.getID().getLeastSignificantBits() : 0L
        kind[i] = kindOf(thing)
        Integer own = thing.getColor()
        boolean missing = thing instanceof TMACoreObject && ((TMACoreObject) thing).isMissing()
        flags[i] = (byte) ((thing.isLocked() ? LOCKED : 0) | (own != null ? COLORED : 0) | (missing ? MISSING : 0))
        color[i] = own == null ? 0 : own.intValue()
        pathClass[i] = classNumber(thing.getPathClass())
        name[i] = thing.getName() == null ? -1 : textNumber(thing.getName())
        z[i] = roi.getZ()
        t[i] = roi.getT()
        c[i] = roi.getC()
        shape[i] = writeShape(roi)
        outlineEnd[i] = wkbSize
        ROI nucleus = thing instanceof PathCellObject ? ((PathCellObject) thing).getNucleusROI() : null
        nucleusShape[i] = nucleus == null ? OTHER : writeShape(nucleus)
        nucleusEnd[i] = wkbSize
        if (thing.hasMeasurements()) {
            MeasurementList list = thing.getMeasurementList()
            List<String> names = list.getMeasurementNames()
            for (int k = 0; k < names.size(); k++)
                addMeasurement(textNumber(names.get(k)), list.getMeasurementValue(k))
        }
        measurementEnd[i] = nMeasurements
        for (Map.Entry<String, String> entry : thing.getMetadata().entrySet()) {
            addMetadata(textNumber(entry.getKey()))
            addMetadata(textNumber(entry.getValue()))
        }
        metadataEnd[i] = nMetadata
        n++
    }

    private static byte kindOf(PathObject thing) {
        if (thing.isAnnotation())
            return ANNOTATION
        if (thing instanceof TMACoreObject)
            return TMA_CORE
        if (thing instanceof PathCellObject)
            return CELL
        if (thing instanceof PathTileObject)
            return TILE
        return DETECTION
    }

    private int textNumber(String text) {
        Integer number = textNumbers.get(text)
        if (number == null) {
            number = texts.size()
            texts.add(text)
            textNumbers.put(text, number)
        }
        return number.intValue()
    }

    private int classNumber(PathClass of) {
        if (of == null || of.toString().trim().isEmpty())
            return -1
        Integer number = classNumbers.get(of)
        if (number == null) {
            number = classNames.size()
            classNames.add(of.toString())
            classColors.add(of.getColor())
            classNumbers.put(of, number)
        }
        return number.intValue()
    }

    private void addMeasurement(int named, double value) {
        if (nMeasurements == measurement.length) {
            measurement = Arrays.copyOf(measurement, 2 * nMeasurements)
            measurementName = Arrays.copyOf(measurementName, 2 * nMeasurements)
        }
        measurementName[nMeasurements] = named
        measurement[nMeasurements] = value
        nMeasurements++
    }

    private void addMetadata(int text) {
        if (nMetadata == metadata.length)
            metadata = Arrays.copyOf(metadata, 2 * nMetadata)
        metadata[nMetadata] = text
        nMetadata++
    }

    private ByteBuffer room(int bytes) {
        if (wkbSize + bytes > wkb.length)
            wkb = Arrays.copyOf(wkb, Math.max(2 * wkb.length, wkbSize + bytes))
        ByteBuffer buffer = ByteBuffer.wrap(wkb, wkbSize, bytes).order(ByteOrder.LITTLE_ENDIAN)
        wkbSize += bytes
        return buffer
    }

    private byte writeShape(ROI roi) {
        if (roi instanceof PolygonROI) {
            writeRing(roi.getAllPoints())
            return POLYGON
        }
        if (roi instanceof LineROI || roi instanceof PolylineROI) {
            writeLine(roi.getAllPoints())
            return roi instanceof LineROI ? LINE : POLYLINE
        }
        if (roi instanceof PointsROI) {
            writePoints(roi.getAllPoints())
            return POINTS
        }
        if (roi instanceof RectangleROI) {
            double x = roi.getBoundsX(), y = roi.getBoundsY()
            double right = x + roi.getBoundsWidth(), bottom = y + roi.getBoundsHeight()
            double[] corners = [x, y, right, y, right, bottom, x, bottom, x, y] as double[]
            ByteBuffer box = polygon(5)
            for (int k = 0; k < corners.length; k++)
                box.putDouble(corners[k])
            return RECTANGLE
        }
        byte[] written = new WKBWriter(2, 2).write(roi.getGeometry())
        room(written.length).put(written)
        return roi instanceof EllipseROI ? ELLIPSE : OTHER
    }

    private ByteBuffer polygon(int nPoints) {
        ByteBuffer buffer = room(13 + 16 * nPoints)
        buffer.put((byte) 1).putInt(3).putInt(1).putInt(nPoints)
        return buffer
    }

    private void writeRing(List<Point2> points) {
        int count = points.size()
        if (count < 3)
            throw new IllegalArgumentException("its outline has " + count + " vertices")
        ByteBuffer buffer = polygon(count + 1)
        for (int k = 0; k <= count; k++) {
            Point2 point = points.get(k == count ? 0 : k)
            buffer.putDouble(point.getX())
            buffer.putDouble(point.getY())
        }
    }

    private void writeLine(List<Point2> points) {
        if (points.size() < 2)
            throw new IllegalArgumentException("its line has " + points.size() + " vertices")
        ByteBuffer buffer = room(9 + 16 * points.size())
        buffer.put((byte) 1).putInt(2).putInt(points.size())
        for (Point2 point : points) {
            buffer.putDouble(point.getX())
            buffer.putDouble(point.getY())
        }
    }

    private void writePoints(List<Point2> points) {
        if (points.isEmpty())
            throw new IllegalArgumentException("it has no points")
        boolean many = points.size() > 1
        ByteBuffer buffer = room((many ? 9 : 0) + 21 * points.size())
        if (many)
            buffer.put((byte) 1).putInt(4).putInt(points.size())
        for (Point2 point : points) {
            buffer.put((byte) 1).putInt(1)
            buffer.putDouble(point.getX())
            buffer.putDouble(point.getY())
        }
    }

    /** Columns that came from outside, to build objects of. */
    static PathObjectColumns of(int n, long[] uuid, long[] parent, byte[] kind, byte[] flags, byte[] shape, byte[] nucleusShape,
            int[] pathClass, int[] name, int[] color, int[] z, int[] t, int[] c, int[] measurementEnd,
            int[] metadataEnd, long[] outlineEnd, long[] nucleusEnd, ByteBuffer wkb, int[] measurementName,
            double[] measurement, int[] metadata, List<String> texts, List<PathClass> classes) {
        PathObjectColumns columns = new PathObjectColumns(0)
        columns.n = n
        columns.uuid = uuid
        columns.parent = parent
        columns.kind = kind
        columns.flags = flags
        columns.shape = shape
        columns.nucleusShape = nucleusShape
        columns.pathClass = pathClass
        columns.name = name
        columns.color = color
        columns.z = z
        columns.t = t
        columns.c = c
        columns.measurementEnd = measurementEnd
        columns.metadataEnd = metadataEnd
        columns.outlineEnd = outlineEnd
        columns.nucleusEnd = nucleusEnd
        columns.received = wkb
        columns.measurementName = measurementName
        columns.measurement = measurement
        columns.metadata = metadata
        columns.texts.addAll(texts)
        columns.classes = classes
        return columns
    }

    private List<PathClass> classes = new ArrayList<PathClass>()
    private ByteBuffer received

    /** The objects, without their parents. */
    List<PathObject> objects() {
        List<PathObject> built = new ArrayList<PathObject>(n)
        for (int i = 0; i < n; i++)
            built.add(object(i))
        return built
    }

    private PathObject object(int i) {
        long begin = i == 0 ? 0L : nucleusEnd[i - 1]
        ImagePlane plane = ImagePlane.getPlaneWithChannel(c[i], z[i], t[i])
        ROI roi = roiOf(shape[i], (int) begin, (int) outlineEnd[i], plane)
        ROI nucleus = nucleusEnd[i] > outlineEnd[i] ?
            roiOf(nucleusShape[i], (int) outlineEnd[i], (int) nucleusEnd[i], plane) : null
        PathObject thing
        if (kind[i] == ANNOTATION)
            thing = PathObjects.createAnnotationObject(roi)
        else if (kind[i] == CELL)
            thing = PathObjects.createCellObject(roi, nucleus)
        else if (kind[i] == TILE)
            thing = PathObjects.createTileObject(roi)
        else if (kind[i] == DETECTION)
            thing = PathObjects.createDetectionObject(roi)
        else
            throw new IllegalArgumentException("objects of kind " + kind[i] + " can't be made")
        thing.setID(new UUID(uuid[2 * i], uuid[2 * i + 1]))
        if (pathClass[i] >= 0)
            thing.setPathClass(classes.get(pathClass[i]))
        if (name[i] >= 0)
            thing.setName(texts.get(name[i]))
        if ((flags[i] & COLORED) != 0)
            thing.setColor(Integer.valueOf(color[i]))
        int first = i == 0 ? 0 : measurementEnd[i - 1]
        if (measurementEnd[i] > first) {
            MeasurementList list = thing.getMeasurementList()
            for (int k = first; k < measurementEnd[i]; k++)
                list.put(texts.get(measurementName[k]), measurement[k])
            list.close()
        }
        try {
            for (int k = i == 0 ? 0 : metadataEnd[i - 1]; k < metadataEnd[i]; k += 2)
                thing.getMetadata().put(texts.get(metadata[k]), texts.get(metadata[k + 1]))
        } catch (UnsupportedOperationException error) {
            throw new IllegalArgumentException("object " + thing.getID() + " can hold no metadata, being no annotation", error)
        }
        thing.setLocked((flags[i] & LOCKED) != 0)
        return thing
    }

    private ROI roiOf(byte kindOfShape, int begin, int end, ImagePlane plane) {
        ByteBuffer buffer = received.duplicate().order(ByteOrder.LITTLE_ENDIAN)
        buffer.position(begin)
        if (kindOfShape == POLYGON || kindOfShape == POLYLINE || kindOfShape == LINE) {
            boolean ring = kindOfShape == POLYGON
            buffer.position(begin + (ring ? 9 : 5))
            int count = buffer.getInt() - (ring ? 1 : 0)
            double[] x = new double[count], y = new double[count]
            for (int k = 0; k < count; k++) {
                x[k] = buffer.getDouble()
                y[k] = buffer.getDouble()
            }
            if (kindOfShape == LINE)
                return ROIs.createLineROI(x[0], y[0], x[1], y[1], plane)
            return ring ? ROIs.createPolygonROI(x, y, plane) : ROIs.createPolylineROI(x, y, plane)
        }
        if (kindOfShape == RECTANGLE || kindOfShape == ELLIPSE) {
            double[] box = bounds(buffer)
            if (kindOfShape == RECTANGLE)
                return ROIs.createRectangleROI(box[0], box[1], box[2] - box[0], box[3] - box[1], plane)
            return ROIs.createEllipseROI(box[0], box[1], box[2] - box[0], box[3] - box[1], plane)
        }
        if (kindOfShape == POINTS) {
            boolean many = buffer.getInt(begin + 1) == 4
            int count = many ? buffer.getInt(begin + 5) : 1
            double[] x = new double[count], y = new double[count]
            for (int k = 0; k < count; k++) {
                buffer.position(begin + (many ? 9 : 0) + 21 * k + 5)
                x[k] = buffer.getDouble()
                y[k] = buffer.getDouble()
            }
            return ROIs.createPointsROI(x, y, plane)
        }
        byte[] written = new byte[end - begin]
        buffer.get(written)
        return GeometryTools.geometryToROI(new WKBReader().read(written), plane)
    }

    private static double[] bounds(ByteBuffer ring) {
        ring.position(ring.position() + 9)
        int count = ring.getInt()
        double[] box = [Double.MAX_VALUE, Double.MAX_VALUE, -Double.MAX_VALUE, -Double.MAX_VALUE] as double[]
        for (int k = 0; k < count; k++) {
            double x = ring.getDouble(), y = ring.getDouble()
            box[0] = Math.min(box[0], x)
            box[1] = Math.min(box[1], y)
            box[2] = Math.max(box[2], x)
            box[3] = Math.max(box[3], y)
        }
        return box
    }
}
