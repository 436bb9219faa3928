#!/usr/bin/python3
"""Make tests/data/images: small pictures of every format and variant, and expected.txt.

    apt install python3-pil python3-numpy python3-opencv gcc libjpeg-dev
    /usr/bin/python3 tests/data/make_images.py

The pictures are checked in; this script says how they came to be. Each line of expected.txt is a picture, the PPM with
its pixels, and the largest difference allowed (0 unless the format is lossy)."""
import io, os, struct, subprocess, sys, tempfile, zlib
import cv2
import numpy as np
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images")
W, H = 23, 17
lines = []


def base():
    """Smooth, with a different corner everywhere, so that lossy formats stay near and a wrong turn is seen."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([40 + 200 * x / (W - 1), 220 - 180 * y / (H - 1), 60 + 120 * (x + y) / (W + H - 2)], -1).round().astype(np.uint8)


RGB = base()
GREY = ((RGB[:, :, 0].astype(int) + RGB[:, :, 1]) // 2).astype(np.uint8)
COLORS = np.array([[i * 37 % 256, i * 91 % 256, 255 - i * 15] for i in range(16)], np.uint8)
INDEX = ((np.mgrid[0:H, 0:W][1] // 3 + np.mgrid[0:H, 0:W][0] // 5) % 16).astype(np.uint8)
BITS = (INDEX & 1).astype(np.uint8)


def path(name): return os.path.join(OUT, name)


def put(name, data):
    with open(path(name), "wb") as f: f.write(data)


def ppm(name, pixels):
    pixels = np.asarray(pixels, np.uint8)
    if pixels.ndim == 2: pixels = np.repeat(pixels[:, :, None], 3, 2)
    put(name, b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes())


def expect(name, reference, tolerance=0): lines.append(f"{name} {reference} {tolerance}")


# ---- BMP -----------------------------------------------------------------------------------------------------------

def rows(data, bits):
    """Packed rows, padded to 4 bytes; data (H, W) indices or (H, W, bytes)."""
    out = []
    for row in data:
        if bits == 1: b = np.packbits(row).tobytes()
        elif bits == 4: b = bytes((int(row[i]) << 4) | (int(row[i + 1]) if i + 1 < len(row) else 0) for i in range(0, len(row), 2))
        else: b = np.ascontiguousarray(row).tobytes()
        out.append(b + bytes(-len(b) % 4))
    return out


def bmp(name, bits, packed, palette=None, compression=0, header=40, masks=b"", top_down=False, raw=None):
    pal = b"" if palette is None else b"".join(bytes(c[::-1]) + (b"" if header == 12 else b"\0") for c in palette.tolist())
    body = raw if raw is not None else b"".join(packed if top_down else packed[::-1])
    inside = masks if header > 40 else b""
    behind = masks if header == 40 else b""
    offset = 14 + header + len(behind) + len(pal)
    if header == 12: dib = struct.pack("<IHHHH", 12, W, H, 1, bits)
    else:
        dib = struct.pack("<IiiHHIIiiII", header, W, -H if top_down else H, 1, bits, compression, len(body), 2835, 2835,
                          0 if palette is None else len(palette), 0) + inside
        dib += bytes(header - len(dib))
    put(name, b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + dib + behind + pal + body)


def rle8(index):
    out = b""
    for y in range(H - 1, -1, -1):
        x = 0
        while x < W:
            n = 1
            while x + n < W and index[y, x + n] == index[y, x]: n += 1
            if n == 1 and W - x >= 3:  # a literal stretch now and then
                k = min(3, W - x)
                out += bytes([0, k]) + index[y, x:x + k].tobytes() + (b"\0" if k & 1 else b"")
                x += k
            else:
                out += bytes([n, index[y, x]])
                x += n
        out += b"\0\0"
    return out + b"\0\1"


def rle4(index):
    out = b""
    for y in range(H - 1, -1, -1):
        lit = index[y, :5]
        out += bytes([0, 5, lit[0] << 4 | lit[1], lit[2] << 4 | lit[3], lit[4] << 4, 0])
        for x in range(5, W, 2):
            pair = index[y, x:x + 2]
            out += bytes([len(pair), pair[0] << 4 | (pair[1] if len(pair) > 1 else 0)])
        out += b"\0\0"
    return out + b"\0\1"


def make_bmp():
    bgr = RGB[:, :, ::-1]
    alpha = np.full((H, W, 1), 77, np.uint8)
    bmp("rgb24.bmp", 24, rows(bgr, 24)); expect("rgb24.bmp", "rgb.ppm")
    bmp("rgb24_topdown.bmp", 24, rows(bgr, 24), top_down=True); expect("rgb24_topdown.bmp", "rgb.ppm")
    bmp("rgb24_os2.bmp", 24, rows(bgr, 24), header=12); expect("rgb24_os2.bmp", "rgb.ppm")
    bmp("rgb32.bmp", 32, rows(np.concatenate([bgr, alpha], 2), 32)); expect("rgb32.bmp", "rgb.ppm")
    masks = struct.pack("<IIII", 0xff, 0xff00, 0xff0000, 0xff000000)
    bmp("rgba32_v5.bmp", 32, rows(np.concatenate([RGB, alpha], 2), 32), compression=3, header=124, masks=masks)
    expect("rgba32_v5.bmp", "rgb.ppm")
    wide = (RGB[:, :, 0].astype(np.uint32) * 1023 // 255 << 20) | (RGB[:, :, 1].astype(np.uint32) * 1023 // 255 << 10) | (RGB[:, :, 2].astype(np.uint32) * 1023 // 255)
    bmp("rgb30_masks.bmp", 32, rows(wide.view(np.uint8).reshape(H, W, 4), 32), compression=3,
        masks=struct.pack("<III", 1023 << 20, 1023 << 10, 1023))
    expect("rgb30_masks.bmp", "rgb.ppm", 1)
    r5, g5, b5, g6 = RGB[:, :, 0] >> 3, RGB[:, :, 1] >> 3, RGB[:, :, 2] >> 3, RGB[:, :, 1] >> 2
    scale = lambda v, most: (v.astype(int) * 255 + most // 2) // most
    v555 = (r5.astype(np.uint16) << 10 | g5.astype(np.uint16) << 5 | b5)
    ppm("rgb555.ppm", np.stack([scale(r5, 31), scale(g5, 31), scale(b5, 31)], -1))
    bmp("rgb555.bmp", 16, rows(v555.view(np.uint8).reshape(H, W, 2), 16)); expect("rgb555.bmp", "rgb555.ppm")
    v565 = (r5.astype(np.uint16) << 11 | g6.astype(np.uint16) << 5 | b5)
    ppm("rgb565.ppm", np.stack([scale(r5, 31), scale(g6, 63), scale(b5, 31)], -1))
    bmp("rgb565.bmp", 16, rows(v565.view(np.uint8).reshape(H, W, 2), 16), compression=3,
        masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))
    expect("rgb565.bmp", "rgb565.ppm")
    bmp("pal8.bmp", 8, rows(INDEX, 8), COLORS); expect("pal8.bmp", "pal16.ppm")
    bmp("pal8_os2.bmp", 8, rows(INDEX, 8), np.concatenate([COLORS, np.zeros((240, 3), np.uint8)]), header=12); expect("pal8_os2.bmp", "pal16.ppm")
    bmp("pal4.bmp", 4, rows(INDEX, 4), COLORS); expect("pal4.bmp", "pal16.ppm")
    bmp("pal1.bmp", 1, rows(BITS, 1), COLORS[:2]); expect("pal1.bmp", "pal2.ppm")
    bmp("rle8.bmp", 8, None, COLORS, compression=1, raw=rle8(INDEX)); expect("rle8.bmp", "pal16.ppm")
    bmp("rle4.bmp", 4, None, COLORS, compression=2, raw=rle4(INDEX)); expect("rle4.bmp", "pal16.ppm")
    # A move by (2, 1) over pixels that nobody writes: they have colour 0.
    hole = np.zeros((H, W), np.uint8)
    hole[H - 1, 0:4] = 3
    hole[H - 2, 6:9] = 5
    bmp("rle8_delta.bmp", 8, None, COLORS, compression=1, raw=bytes([4, 3, 0, 2, 2, 1, 3, 5, 0, 1]))
    ppm("hole.ppm", COLORS[hole]); expect("rle8_delta.bmp", "hole.ppm")


# ---- PNG -----------------------------------------------------------------------------------------------------------

def png_bytes(color, depth, packed_rows, palette=None, trns=None, interlace=0, exif=None):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, color, 0, 0, interlace))
    if palette is not None: out += chunk(b"PLTE", palette.tobytes())
    if trns: out += chunk(b"tRNS", trns)
    if exif: out += chunk(b"eXIf", exif)
    return out + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in packed_rows), 9)) + chunk(b"IEND", b"")


def pack(row, depth):
    if depth == 8: return np.ascontiguousarray(row).tobytes()
    if depth == 16: return np.ascontiguousarray(row).astype(">u2").tobytes()
    bits = ((row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).ravel()
    return np.packbits(bits).tobytes()


def adam7(data, depth):
    out = []
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        part = data[y0::dy, x0::dx]
        if part.size: out += [pack(r, depth) for r in part]
    return out


def make_png():
    def one(name, color, depth, data, reference, **more):
        packed = adam7(data, depth) if more.get("interlace") else [pack(r, depth) for r in data]
        put(name, png_bytes(color, depth, packed, **more)); expect(name, reference)
    alpha = (np.mgrid[0:H, 0:W][1] * 11).astype(np.uint8)
    noise = np.random.RandomState(5).randint(0, 256, (H, W, 3)).astype(np.uint16)
    one("rgb8.png", 2, 8, RGB, "rgb.ppm")
    one("rgb8_interlaced.png", 2, 8, RGB, "rgb.ppm", interlace=1)
    one("rgba8.png", 6, 8, np.dstack([RGB, alpha]), "rgb.ppm")
    one("rgb16.png", 2, 16, RGB.astype(np.uint16) << 8 | noise, "rgb.ppm")
    one("rgba16_interlaced.png", 6, 16, np.dstack([RGB.astype(np.uint16) << 8 | noise, alpha.astype(np.uint16) << 8]), "rgb.ppm", interlace=1)
    one("grey8.png", 0, 8, GREY, "grey.ppm")
    one("grey16.png", 0, 16, GREY.astype(np.uint16) << 8 | noise[:, :, 0], "grey.ppm")
    one("grey_alpha8.png", 4, 8, np.dstack([GREY, alpha]), "grey.ppm")
    one("grey8_trns.png", 0, 8, GREY, "grey.ppm", trns=struct.pack(">H", int(GREY[0, 0])))
    ppm("grey4.ppm", INDEX * 17)
    one("grey4.png", 0, 4, INDEX, "grey4.ppm")
    ppm("grey1.ppm", BITS * 255)
    one("grey1.png", 0, 1, BITS, "grey1.ppm")
    one("pal8.png", 3, 8, INDEX, "pal16.ppm", palette=COLORS)
    one("pal4_trns.png", 3, 4, INDEX, "pal16.ppm", palette=COLORS, trns=bytes([0, 128]))
    one("pal1.png", 3, 1, BITS, "pal2.ppm", palette=COLORS[:2])
    one("pal4_interlaced.png", 3, 4, INDEX, "pal16.ppm", palette=COLORS, interlace=1)
    one("orient6.png", 2, 8, stored(6), "rgb.ppm", exif=tiff_orientation(6)) if H == W else put_oriented_png()


def put_oriented_png():
    global W, H
    data = stored(6)
    W, H = H, W
    put("orient6.png", png_bytes(2, 8, [pack(r, 8) for r in data], exif=tiff_orientation(6)))
    W, H = H, W
    expect("orient6.png", "rgb.ppm")


# ---- orientation ---------------------------------------------------------------------------------------------------

def stored(orientation, upright=None):
    """What a camera stores so that turning by `orientation` gives the upright picture."""
    u = RGB if upright is None else upright
    return np.ascontiguousarray({1: u, 2: u[:, ::-1], 3: u[::-1, ::-1], 4: u[::-1], 5: u.swapaxes(0, 1),
                                 6: np.rot90(u, 1), 7: u[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(u, -1)}[orientation])


def tiff_orientation(value, big=False):
    e = ">" if big else "<"
    head = (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8)
    entry = struct.pack(e + "HHIHH", 0x0112, 3, 1, value, 0)
    other = struct.pack(e + "HHII", 0x0100, 4, 1, W)
    return head + struct.pack(e + "H", 2) + other + entry + struct.pack(e + "I", 0)


# ---- JPEG ----------------------------------------------------------------------------------------------------------

YCCK = r"""
#include <stdio.h>
#include <jpeglib.h>
int main(int argc, char **argv) { /* CMYK rows on stdin, width, height, YCCK or not -> stdout */
    struct jpeg_compress_struct c; struct jpeg_error_mgr e; unsigned char row[4096]; JSAMPROW r = row;
    c.err = jpeg_std_error(&e); jpeg_create_compress(&c); jpeg_stdio_dest(&c, stdout);
    sscanf(argv[1], "%u", &c.image_width); sscanf(argv[2], "%u", &c.image_height);
    c.input_components = 4; c.in_color_space = JCS_CMYK; jpeg_set_defaults(&c);
    if (argc > 3) jpeg_set_colorspace(&c, JCS_YCCK);
    jpeg_set_quality(&c, 97, 1); jpeg_start_compress(&c, 1);
    while (c.next_scanline < c.image_height) { fread(row, 4, c.image_width, stdin); jpeg_write_scanlines(&c, &r, 1); }
    jpeg_finish_compress(&c); return 0; }
"""


def make_jpeg():
    def save(name, image, reference, tolerance, **more):
        image.save(path(name), "JPEG", quality=96, **more); expect(name, reference, tolerance)
    rgb = Image.fromarray(RGB)
    save("rgb444.jpg", rgb, "rgb.ppm", 3, subsampling=0)
    save("rgb420.jpg", rgb, "rgb.ppm", 6)
    save("progressive.jpg", rgb, "rgb.ppm", 6, progressive=True)
    save("grey.jpg", Image.fromarray(GREY), "grey.ppm", 3)
    for o in range(1, 9):
        exif = b"Exif\0\0" + tiff_orientation(o, big=o % 2 == 0)
        save(f"orient{o}.jpg", Image.fromarray(stored(o)), "rgb.ppm", 4, exif=exif, subsampling=0)
    cmyk = np.dstack([RGB, np.full((H, W), 255, np.uint8)])  # inverted, as Adobe writes it: no black ink
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/y.c", "w") as f: f.write(YCCK)
        subprocess.run(["gcc", d + "/y.c", "-o", d + "/y", "-ljpeg"], check=True)
        for name, more in (("cmyk.jpg", []), ("ycck.jpg", ["ycck"])):
            put(name, subprocess.run([d + "/y", str(W), str(H)] + more, input=cmyk.tobytes(), stdout=subprocess.PIPE, check=True).stdout)
            expect(name, "rgb.ppm", 8)


# ---- WebP, GIF -----------------------------------------------------------------------------------------------------

def make_webp():
    rgb = Image.fromarray(RGB)
    alpha = Image.fromarray(np.dstack([RGB, np.full((H, W), 200, np.uint8)]))
    def save(name, image, tolerance, **more):
        image.save(path(name), "WEBP", **more); expect(name, "rgb.ppm", tolerance)
    save("lossy.webp", rgb, 12, quality=95)
    save("lossless.webp", rgb, 0, lossless=True)
    save("alpha.webp", alpha, 0, lossless=True, exact=True)
    save("orient8.webp", Image.fromarray(stored(8)), 0, lossless=True, exif=b"Exif\0\0" + tiff_orientation(8))
    second = Image.fromarray(255 - RGB)
    save("animated.webp", rgb, 0, lossless=True, save_all=True, append_images=[second], duration=100)


def make_gif():
    image = Image.fromarray(INDEX, "P")
    image.putpalette(COLORS.tobytes())
    other = image.transpose(Image.FLIP_LEFT_RIGHT)
    def save(name, **more):
        image.save(path(name), "GIF", optimize=False, **more); expect(name, "pal16.ppm")
    save("plain.gif", interlace=0)
    save("interlaced.gif", interlace=1)
    save("transparent.gif", interlace=0, transparency=3)
    save("animated.gif", save_all=True, append_images=[other], duration=50)


# ---- TIFF ----------------------------------------------------------------------------------------------------------

def tiff(name, data, photometric, bits, big=False, planar=1, tile=None, orientation=None, palette=None, extra=None):
    e = ">" if big else "<"
    h, w = data.shape[:2]
    samples = 1 if data.ndim == 2 else data.shape[2]
    sample = lambda a: np.ascontiguousarray(a).astype(e + ("u2" if bits == 16 else "u1")).tobytes()
    planes = [data[:, :, c] for c in range(samples)] if planar == 2 else [data]
    parts = []
    for p in planes:
        if tile:
            for y in range(0, h, tile):
                for x in range(0, w, tile):
                    block = np.zeros((tile, tile) + p.shape[2:], p.dtype)
                    piece = p[y:y + tile, x:x + tile]
                    block[:piece.shape[0], :piece.shape[1]] = piece
                    parts.append(sample(block))
        elif bits == 1: parts.append(b"".join(np.packbits(r).tobytes() for r in p))
        else: parts.append(sample(p))
    body, offsets = b"", []
    for p in parts:
        offsets.append(8 + len(body))
        body += p
    tags = [(256, 4, [w]), (257, 4, [h]), (258, 3, [bits] * samples), (259, 3, [1]), (262, 3, [photometric]), (277, 3, [samples]),
            (284, 3, [planar])]
    tags += [(322, 4, [tile]), (323, 4, [tile]), (324, 4, offsets), (325, 4, [len(p) for p in parts])] if tile else \
            [(273, 4, offsets), (278, 4, [h]), (279, 4, [len(p) for p in parts])]
    if orientation: tags.append((274, 3, [orientation]))
    if palette is not None: tags.append((320, 3, [int(v) * 257 for v in palette.T.ravel()]))
    if extra is not None: tags.append((338, 3, [extra]))
    tags.sort()
    at = 8 + len(body) + (len(body) & 1)
    body += bytes(len(body) & 1)
    directory, tail = struct.pack(e + "H", len(tags)), b""
    tail_at = at + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        raw = struct.pack(e + str(len(values)) + ("H" if kind == 3 else "I"), *values)
        if len(raw) <= 4: field = raw + bytes(4 - len(raw))
        else:
            field = struct.pack(e + "I", tail_at + len(tail))
            tail += raw + bytes(len(raw) & 1)
        directory += struct.pack(e + "HHI", tag, kind, len(values)) + field
    put(name, (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", at) + body + directory + bytes(4) + tail)


def make_tiff():
    def one(name, reference, *args, tolerance=0, **more):
        tiff(name, *args, **more); expect(name, reference, tolerance)
    one("rgb8.tif", "rgb.ppm", RGB, 2, 8)
    one("rgb8_big_endian.tif", "rgb.ppm", RGB, 2, 8, big=True)
    one("rgb8_planar.tif", "rgb.ppm", RGB, 2, 8, planar=2)
    one("rgb8_tiled.tif", "rgb.ppm", RGB, 2, 8, tile=16)
    one("rgb16.tif", "rgb.ppm", RGB.astype(np.uint16) * 257, 2, 16)
    one("rgb16_big_endian.tif", "rgb.ppm", RGB.astype(np.uint16) * 257, 2, 16, big=True)
    one("grey8.tif", "grey.ppm", GREY, 1, 8)
    one("grey16.tif", "grey.ppm", GREY.astype(np.uint16) * 257, 1, 16)
    one("white_is_zero.tif", "grey.ppm", 255 - GREY, 0, 8)
    one("bits1.tif", "grey1.ppm", BITS, 1, 1)
    one("pal8.tif", "pal16.ppm", INDEX, 3, 8, palette=np.concatenate([COLORS, np.zeros((240, 3), np.uint8)]))
    one("rgba8_opaque.tif", "rgb.ppm", np.dstack([RGB, np.full((H, W), 255, np.uint8)]), 2, 8, extra=2)
    for o in range(2, 9): one(f"orient{o}.tif", "rgb.ppm", stored(o), 2, 8, orientation=o)
    rgb = Image.fromarray(RGB)
    for name, compression in (("lzw.tif", "tiff_lzw"), ("deflate.tif", "tiff_adobe_deflate"), ("packbits.tif", "packbits")):
        rgb.save(path(name), "TIFF", compression=compression); expect(name, "rgb.ppm")
    Image.fromarray(255 - np.dstack([RGB, np.full((H, W), 255, np.uint8)]), "CMYK").save(path("cmyk.tif"), "TIFF", compression="tiff_lzw")
    expect("cmyk.tif", "rgb.ppm", 1)


# ---- PNM -----------------------------------------------------------------------------------------------------------

def make_pnm():
    text = lambda a: "\n".join(" ".join(str(v) for v in np.ravel(r)) for r in a).encode() + b"\n"
    def one(name, data, reference, tolerance=0): put(name, data); expect(name, reference, tolerance)
    size = b"%d %d\n" % (W, H)
    black = 1 - BITS
    one("plain.pbm", b"P1\n# a comment\n" + size + b"\n".join("".join(map(str, r)).encode() for r in black) + b"\n", "grey1.ppm")
    one("plain.pgm", b"P2\n" + size + b"# another\n255\n" + text(GREY), "grey.ppm")
    one("plain.ppm", b"P3 " + size + b"255\n" + text(RGB), "rgb.ppm")
    one("raw.pbm", b"P4\n" + size + b"".join(np.packbits(r).tobytes() for r in black), "grey1.ppm")
    one("raw.pgm", b"P5\n" + size + b"255\n" + GREY.tobytes(), "grey.ppm")
    one("raw16.ppm", b"P6\n" + size + b"65535\n" + (RGB.astype(np.uint16) * 256 + 99).astype(">u2").tobytes(), "rgb.ppm")
    one("grey15.pgm", b"P5\n" + size + b"15\n" + INDEX.tobytes(), "grey4.ppm")
    one("rgba.pam", b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 4\n# c\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" % (W, H) +
        np.dstack([RGB, GREY]).tobytes(), "rgb.ppm")
    one("bits.pam", b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n" % (W, H) + BITS.tobytes(), "grey1.ppm")


def make_jp2():
    def save(name, image, reference, tolerance=0, **options):
        image.save(path(name), "JPEG2000", **options)
        expect(name, reference, tolerance)
    save("rgb.jp2", Image.fromarray(RGB), "rgb.ppm")
    save("rgb_codestream.j2k", Image.fromarray(RGB), "rgb.ppm", no_jp2=True)
    save("rgb_tiles.jp2", Image.fromarray(RGB), "rgb.ppm", tile_size=(8, 8))
    save("lossy.jp2", Image.fromarray(RGB), "rgb.ppm", 12, irreversible=True, quality_mode="dB", quality_layers=[45])
    save("grey.jp2", Image.fromarray(GREY), "grey.ppm")
    save("grey16.jp2", Image.fromarray(GREY.astype(np.uint16) * 257), "grey.ppm")
    save("rgba.jp2", Image.fromarray(np.dstack([RGB, GREY])), "rgb.ppm")


def main():
    os.makedirs(OUT, exist_ok=True)
    ppm("rgb.ppm", RGB), ppm("grey.ppm", GREY), ppm("pal16.ppm", COLORS[INDEX]), ppm("pal2.ppm", COLORS[BITS])
    make_bmp(), make_png(), make_jpeg(), make_webp(), make_gif(), make_tiff(), make_pnm(), make_jp2()
    with open(path("expected.txt"), "w") as f: f.write("\n".join(lines) + "\n")


main()
