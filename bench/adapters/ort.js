// ort.js MODEL THREADS SECONDS: times a model in ONNX Runtime (npm package onnxruntime-node, found through NODE_PATH).
// Prints `version X`, `load MS` and the milliseconds of each run, as bench/run.py wants it (docs/testing.md).
'use strict';
const fs = require('fs');
const ort = require('onnxruntime-node');

const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int64: BigInt64Array, int32: Int32Array,
  uint8: Uint8Array, int8: Int8Array, bool: Uint8Array,
};

// The float32 elements of an .npy file of format 1 in C order, which is what bench/export_models.py writes.
function readNpy(file) {
  const bytes = fs.readFileSync(file);
  const begin = 10 + bytes.readUInt16LE(8);
  if (bytes[6] !== 1 || !/'<f4', 'fortran_order': False/.test(bytes.toString('latin1', 10, begin)))
    throw new Error(`${file}: not float32 in C order`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + begin, bytes.byteOffset + bytes.length));
}

function makeInput(meta, npy) {
  const dims = meta.shape.map(d => (typeof d === 'number' && d > 0 ? d : 1));
  const count = dims.reduce((a, b) => a * b, 1);
  const Array = arrays[meta.type];
  if (!Array) throw new Error(`input ${meta.name} is of type ${meta.type}`);
  let data = new Array(count); // zeros, but for floats and pictures
  if (npy && meta.type === 'float32') data = readNpy(npy);
  else if (meta.type === 'float32') data = data.map(() => Math.random() * 2 - 1);
  else if (meta.type === 'uint8') data = data.map(() => Math.random() * 256);
  return new ort.Tensor(meta.type, data, dims);
}

const milliseconds = begin => Number(process.hrtime.bigint() - begin) / 1e6;

async function main([model, threads, seconds]) {
  console.log(`version ${ort.env.versions.node || ort.env.versions.common}`);
  let t = process.hrtime.bigint();
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ['cpu'], intraOpNumThreads: Number(threads), interOpNumThreads: 1,
    graphOptimizationLevel: 'all', logSeverityLevel: 4,
  });
  console.log(`load ${milliseconds(t)}`);
  const npy = model.replace(/\.onnx$/, '.in.npy');
  const given = session.inputMetadata.length === 1 && fs.existsSync(npy) ? npy : null;
  const feeds = {};
  for (const meta of session.inputMetadata) feeds[meta.name] = makeInput(meta, given);
  await session.run(feeds); // warm-up
  const times = [];
  const begin = process.hrtime.bigint();
  do {
    t = process.hrtime.bigint();
    await session.run(feeds);
    times.push(milliseconds(t));
  } while (milliseconds(begin) < Number(seconds) * 1e3);
  console.log(times.join('\n'));
}

main(process.argv.slice(2)).catch(e => {
  console.error(String(e.message || e).split('\n')[0]);
  process.exit(1);
});
