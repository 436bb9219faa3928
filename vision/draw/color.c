/* Colours in OKLCH, where equal steps look equal: hues one golden section of the circle apart, so that any few
 * neighbours are spread over it, and three lightnesses in turn, which part those whose hues come near again. */
#include <math.h>

#include "vision/draw/draw.h"

#define GOLDEN_ANGLE 2.399963229728653 /* radians */

static double to_srgb(double linear) {
    double v = linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
    return TN_MIN(TN_MAX(v, 0.0), 1.0);
}

/* Björn Ottosson's OKLab. False: outside of what a screen shows. */
static bool oklch_to_rgb(double lightness, double chroma, double hue, double rgb[3]) {
    double a = chroma * cos(hue), b = chroma * sin(hue);
    double l = lightness + 0.3963377774 * a + 0.2158037573 * b;
    double m = lightness - 0.1055613458 * a - 0.0638541728 * b;
    double s = lightness - 0.0894841775 * a - 1.2914855480 * b;
    l *= l * l;
    m *= m * m;
    s *= s * s;
    rgb[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    rgb[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    rgb[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
    bool shown = true;
    for (int i = 0; i < 3; i++) shown = shown && rgb[i] >= 0 && rgb[i] <= 1;
    return shown;
}

tern_color tern_class_color(int32_t cls) {
    static const double lightness[] = {0.68, 0.80, 0.56};
    double hue = 0.5 + GOLDEN_ANGLE * (double)(cls % 4096), rgb[3];
    /* The strongest colour of that hue that a screen can show. */
    double chroma = 0.30;
    while (chroma > 0.02 && !oklch_to_rgb(lightness[cls % 3], chroma, hue, rgb)) chroma -= 0.005;
    oklch_to_rgb(lightness[cls % 3], chroma, hue, rgb);
    return (tern_color){(uint8_t)lrint(255 * to_srgb(rgb[0])), (uint8_t)lrint(255 * to_srgb(rgb[1])),
                        (uint8_t)lrint(255 * to_srgb(rgb[2]))};
}

static double luminance(tern_color c) {
    const uint8_t v[3] = {c.r, c.g, c.b};
    static const double weight[3] = {0.2126, 0.7152, 0.0722};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double s = v[i] / 255.0;
        sum += weight[i] * (s <= 0.04045 ? s / 12.92 : pow((s + 0.055) / 1.055, 2.4));
    }
    return sum;
}

/* By WCAG's contrast, (lighter + 0.05) / (darker + 0.05). */
tern_color tern_text_color(tern_color background) {
    double l = luminance(background);
    bool black = (l + 0.05) / 0.05 >= 1.05 / (l + 0.05);
    return black ? (tern_color){0, 0, 0} : (tern_color){255, 255, 255};
}
