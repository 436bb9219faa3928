#include "vision/detect/detect.h"

const char *tern_head_name(tern_head head) {
    static const char *const names[] = {"auto", "yolov5", "face", "yolov8", "yolox", "nms", "classify"};
    return (size_t)head < TN_COUNT(names) ? names[head] : "?";
}

const char *tern_coco_name(int index) {
    static const char *const names[TERN_COCO_CLASSES] = {"person",        "bicycle",      "car",
                                                         "motorcycle",    "airplane",     "bus",
                                                         "train",         "truck",        "boat",
                                                         "traffic light", "fire hydrant", "stop sign",
                                                         "parking meter", "bench",        "bird",
                                                         "cat",           "dog",          "horse",
                                                         "sheep",         "cow",          "elephant",
                                                         "bear",          "zebra",        "giraffe",
                                                         "backpack",      "umbrella",     "handbag",
                                                         "tie",           "suitcase",     "frisbee",
                                                         "skis",          "snowboard",    "sports ball",
                                                         "kite",          "baseball bat", "baseball glove",
                                                         "skateboard",    "surfboard",    "tennis racket",
                                                         "bottle",        "wine glass",   "cup",
                                                         "fork",          "knife",        "spoon",
                                                         "bowl",          "banana",       "apple",
                                                         "sandwich",      "orange",       "broccoli",
                                                         "carrot",        "hot dog",      "pizza",
                                                         "donut",         "cake",         "chair",
                                                         "couch",         "potted plant", "bed",
                                                         "dining table",  "toilet",       "tv",
                                                         "laptop",        "mouse",        "remote",
                                                         "keyboard",      "cell phone",   "microwave",
                                                         "oven",          "toaster",      "sink",
                                                         "refrigerator",  "book",         "clock",
                                                         "vase",          "scissors",     "teddy bear",
                                                         "hair drier",    "toothbrush"};
    return index >= 0 && index < TERN_COCO_CLASSES ? names[index] : NULL;
}
