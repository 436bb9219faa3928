// What a visitor does: give pictures in three ways, read labels, boxes and timing, load and unload, by mouse and by
// keyboard, on a desk and on a phone, light and dark. Prints TAP; pictures of the page go to a folder.
"use strict";
const { chromium } = require("playwright-core");
const fs = require("fs");
const path = require("path");

const [url, executablePath, shots, examples, detectPicture] = process.argv.slice(2);
let number = 0, failed = 0;
function check(good, name, detail) {
  number++;
  console.log(`${good ? "ok" : "not ok"} ${number} - ${name}`);
  if (!good) { failed = 1; console.log("# " + JSON.stringify(detail ?? null).slice(0, 500)); }
}

async function until(f, what) {
  for (let i = 0; i < 300; i++) {
    const v = await f();
    if (v) return v;
    await new Promise((r) => setTimeout(r, 100));
  }
  console.log("# waited in vain for " + what);
  return null;
}

const bars = (page) => page.$$eval("#bars li", (l) => l.map((e) => e.textContent));

// A file dropped on the page, as the browser gives it.
async function drop(page, file, type) {
  const data = fs.readFileSync(file).toString("base64");
  const transfer = await page.evaluateHandle(([b64, name, type]) => {
    const t = new DataTransfer();
    t.items.add(new File([Uint8Array.from(atob(b64), (c) => c.charCodeAt(0))], name, { type }));
    return t;
  }, [data, path.basename(file), type]);
  await page.dispatchEvent("#drop", "drop", { dataTransfer: transfer });
}

async function paste(page, file) {
  const data = fs.readFileSync(file).toString("base64");
  await page.evaluate((b64) => {
    const t = new DataTransfer();
    t.items.add(new File([Uint8Array.from(atob(b64), (c) => c.charCodeAt(0))], "image.png", { type: "image/png" }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: t, bubbles: true }));
  }, data);
}

async function classify(page) {
  await page.selectOption("#model", "fashion");
  await drop(page, path.join(examples, "dress.png"), "image/png");
  await until(async () => (await bars(page))[0]?.startsWith("Dress"), "Dress");
  const list = await bars(page);
  check(list.length === 5 && /^Dress98\.\d %$/.test(list[0]), "a dropped picture: five bars, the best first", list);
  const times = await page.$$eval("#times dd", (l) => l.map((e) => e.textContent));
  check(times.length === 6 && times.every((t) => /^\d+\.\d+ ms$/.test(t)), "where the time went", times);
  const curl = await page.textContent("#curl");
  check(curl === `curl -s ${url}/v1/models/fashion:classify --data-binary @'dress.png'`, "the curl line", curl);
  await page.screenshot({ path: path.join(shots, "page-classify.png"), fullPage: true });
  await page.setInputFiles("#file", path.join(examples, "bag.png"));
  await until(async () => (await bars(page))[0]?.startsWith("Bag"), "Bag");
  check((await bars(page))[0]?.startsWith("Bag"), "a chosen file", await bars(page));
  await paste(page, path.join(examples, "coat.png"));
  await until(async () => (await bars(page))[0]?.startsWith("Coat"), "Coat");
  check((await bars(page))[0]?.startsWith("Coat"), "a pasted picture", await bars(page));
  await page.setInputFiles("#file", { name: "x.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await until(() => page.isVisible("#message"), "a message");
  check(/picture/.test(await page.textContent("#message")), "what is no picture is said to be none", await page.textContent("#message"));
}

async function detect(page) {
  if (!detectPicture) {
    number++;
    console.log(`ok ${number} - boxes over a picture # SKIP there is no detector here`);
    return;
  }
  await page.selectOption("#model", "yolov5n");
  await page.setInputFiles("#file", detectPicture);
  await until(async () => (await bars(page)).some((b) => b.startsWith("bus")), "bus");
  const list = await bars(page);
  check(list.filter((b) => b.startsWith("person")).length >= 3 && list.some((b) => b.startsWith("bus")), "a list of what was found", list);
  // The first person's box: its left edge, in the middle, is no longer what the picture has there.
  const drawn = await page.evaluate(async (src) => {
    const answer = await (await fetch("v1/models/yolov5n:detect", { method: "POST", body: current.blob })).json();
    const [x1, y1, , y2] = answer.detections[0].box;
    const y = Math.round((y1 + y2) / 2), x = Math.round(x1);
    const shown = document.getElementById("picture").getContext("2d").getImageData(x, y, 1, 1).data;
    const plain = new OffscreenCanvas(current.bitmap.width, current.bitmap.height).getContext("2d");
    plain.drawImage(current.bitmap, 0, 0);
    const was = plain.getImageData(x, y, 1, 1).data;
    return Math.abs(shown[0] - was[0]) + Math.abs(shown[1] - was[1]) + Math.abs(shown[2] - was[2]);
  });
  check(drawn > 40, "boxes are drawn over the picture", drawn);
  const gap = await page.evaluate(() => $("bars").getBoundingClientRect().left - $("picture").getBoundingClientRect().right);
  check(gap > 0 && gap < 40, "the list stands beside the picture", gap);
  await page.screenshot({ path: path.join(shots, "page-detect.png"), fullPage: true });
}

// Labels of boxes in one place, then the tops of the plots' scales.
async function drawing(page) {
  const tops = await page.evaluate(() => [3, 3, 3].map((y, i, all) => {
    const taken = all.slice(0, i).map((_, k) => ({ x: 5, top: k * 10, width: 50 }));
    return labelPlace(taken, 30, y, 50, 10);
  }));
  check(tops.join() === "0,10,20", "labels do not cover each other", tops);
  const scales = await page.evaluate(() => [0.003, 1, 7, 38, 147, 2000].map(scaleTop).map((v) => Number(v.toPrecision(3))));
  check(scales.join() === "0.004,1,10,40,200,2000", "scales end in round numbers", scales);
}

async function models(page) {
  const row = () => page.textContent("#models tr:first-child");
  check(/fashion1readyclassify[1-9][0-9.]* MB/.test(await row()), "the table of models, with their memory", await row());
  await page.click('button[aria-label="Unload fashion"]');
  check(await until(async () => /unavailable/.test(await row()), "unavailable"), "unload", await row());
  await page.click('button[aria-label="Load fashion"]');
  check(await until(async () => /fashion1ready/.test(await row()), "ready"), "load again", await row());
  check(await until(async () => Number(await page.textContent("#rate")) >= 0, "a rate"), "a rate is shown", null);
}

async function repeat(page) {
  await page.selectOption("#model", "fashion");
  await page.setInputFiles("#file", path.join(examples, "dress.png"));
  await until(async () => (await bars(page))[0]?.startsWith("Dress"), "Dress");
  await page.check("#repeat");
  check(await until(async () => Number(await page.textContent("#rate")) > 5, "a rate"), "requests in a row show as throughput", await page.textContent("#rate"));
  await new Promise((r) => setTimeout(r, 3000));
  await page.screenshot({ path: path.join(shots, "page-live.png"), fullPage: true });
  await page.uncheck("#repeat");
}

async function keyboard(page) {
  await page.goto(url);
  await until(async () => (await page.$$("#model option")).length > 0, "models");
  const seen = [];
  for (let i = 0; i < 8; i++) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
  }
  check(["theme", "model", "file", "camera"].every((id) => seen.includes(id)), "everything is reached by Tab", seen);
  const chooser = page.waitForEvent("filechooser", { timeout: 5000 }).catch(() => null);
  await page.focus("#file");
  await page.keyboard.press("Enter");
  check(await chooser, "Enter chooses a file", null);
}

// The browser's made-up camera: a green picture with a clock in it.
async function camera(page) {
  await page.selectOption("#model", "fashion");
  await page.click("#camera");
  check(await until(() => page.evaluate(() => $("video").videoWidth > 0 && !$("video").paused), "the camera"), "the camera is shown", null);
  const taken = await page.evaluate(() => ({ width: $("video").videoWidth, height: $("video").videoHeight }));
  await page.keyboard.press("Enter"); // on "take a picture"
  await until(async () => (await page.textContent("#curl")).includes("camera.jpg"), "its picture");
  await until(async () => (await bars(page)).length === 5, "five bars");
  const seen = await page.evaluate(() => {
    const c = $("picture"), { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height), sum = [0, 0, 0];
    for (let i = 0; i < data.length; i++) if (i % 4 < 3) sum[i % 4] += data[i];
    return { width: c.width, height: c.height, green: sum[1] > 1.2 * sum[0] && sum[1] > 1.2 * sum[2] };
  });
  check(seen.width === taken.width && seen.height === taken.height && seen.green && (await bars(page)).length === 5,
    "a picture of the camera is classified", { seen, taken });
  await page.screenshot({ path: path.join(shots, "page-camera.png"), fullPage: true });
  const live = () => page.evaluate(() => stream !== null);
  await page.click("#camera-off");
  check(!(await live()) && await page.isHidden("#camera-box"), "the camera is let go of", null);
}

async function dark(browser) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, colorScheme: "dark" });
  const page = await context.newPage();
  await page.goto(url);
  await until(async () => (await page.$$("#models tr")).length > 0, "models");
  await page.selectOption("#model", detectPicture ? "yolov5n" : "fashion");
  await page.setInputFiles("#file", detectPicture || path.join(examples, "dress.png"));
  await until(async () => (await bars(page)).length > 0, "an answer");
  await page.screenshot({ path: path.join(shots, "page-dark.png"), fullPage: true });
  await context.close();
}

async function phone(browser) {
  const context = await browser.newContext({ viewport: { width: 375, height: 700 }, deviceScaleFactor: 2, hasTouch: true, colorScheme: "dark" });
  const page = await context.newPage();
  await page.goto(url);
  await until(async () => (await page.$$("#models tr")).length > 0, "models");
  await page.selectOption("#model", detectPicture ? "yolov5n" : "fashion");
  await page.setInputFiles("#file", detectPicture || path.join(examples, "dress.png"));
  await until(async () => (await bars(page)).length > 0, "an answer");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(width <= 375, "nothing is wider than a phone", width);
  const cut = await page.$$eval("#models button", (l) => l.filter((b) => b.getBoundingClientRect().right >
    b.closest("table").parentElement.getBoundingClientRect().right + 1).length);
  check(cut === 0, "no button of the table is cut off", cut);
  const back = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check(back === "rgb(14, 21, 24)", "dark where the system is", back);
  await page.screenshot({ path: path.join(shots, "page-phone-dark.png"), fullPage: true });
  await page.click("#theme");
  const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check(light === "rgb(244, 246, 247)", "light when asked for", light);
  await context.close();
}

(async () => {
  const browser = await chromium.launch({ executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] });
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  const problems = [], foreign = [];
  page.on("pageerror", (e) => problems.push(e.message));
  page.on("console", (m) => { if (m.type() === "error" && !/status of (4|5)/.test(m.text())) problems.push(m.text()); });
  page.on("request", (r) => { if (!r.url().startsWith(url) && !/^(data|blob):/.test(r.url())) foreign.push(r.url()); });
  await page.goto(url);
  check(await until(async () => /ready/.test(await page.textContent("#state")), "ready"), "the page finds its server", await page.textContent("#state"));
  await classify(page);
  await detect(page);
  await drawing(page);
  await models(page);
  await repeat(page);
  await camera(page);
  await keyboard(page);
  await dark(browser);
  await phone(browser);
  check(problems.length === 0, "no error in the browser", problems);
  check(foreign.length === 0, "nothing is fetched from elsewhere", foreign);
  await browser.close();
  console.log(`1..${number}`);
  process.exit(failed);
})().catch((error) => {
  console.log("not ok - " + error.stack.replace(/\n/g, " "));
  process.exit(1);
});
