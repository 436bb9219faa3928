// Runs models in ONNX Runtime (npm package onnxruntime-node, found through NODE_PATH): node ort_cases.js JOBS.json FIRST
// JOBS: [{model, optimized?, inputs: [{name, type, dims, file}], outputs: PREFIX}]; those from number FIRST on are run.
// Of each the outputs are written to PREFIX.<i>.bin; a line of JSON says what they are: {outputs: [{name, type, dims}]}
// or {error}. Lines come one by one, for ONNX Runtime may crash. With `optimized`, ONNX Runtime writes the model there as its optimiser leaves it (level "extended").
const fs = require('fs');
const ort = require('onnxruntime-node');

const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int64: BigInt64Array, uint64: BigUint64Array,
  int32: Int32Array, uint32: Uint32Array, int16: Int16Array, uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array,
  bool: Uint8Array,
};

function tensor(input) {
  const b = fs.readFileSync(input.file);
  const data = new arrays[input.type](b.buffer.slice(b.byteOffset, b.byteOffset + b.length));
  return new ort.Tensor(input.type, data, input.dims);
}

async function run(job) {
  const options = {executionProviders: ['cpu'], intraOpNumThreads: 1, logSeverityLevel: 4,
                   graphOptimizationLevel: job.optimized ? 'extended' : 'disabled'};
  if (job.optimized) options.optimizedModelFilePath = job.optimized;
  const session = await ort.InferenceSession.create(job.model, options);
  const feeds = {};
  for (const input of job.inputs) feeds[input.name] = tensor(input);
  const results = await session.run(feeds);
  const outputs = session.outputNames.map((name, i) => {
    const t = results[name];
    fs.writeFileSync(`${job.outputs}.${i}.bin`, Buffer.from(t.data.buffer, t.data.byteOffset, t.data.byteLength));
    return {name, type: t.type, dims: t.dims.map(Number)};
  });
  return {outputs};
}

(async () => {
  for (const job of JSON.parse(fs.readFileSync(process.argv[2])).slice(Number(process.argv[3]))) {
    const line = await run(job).catch(e => ({error: String(e.message || e)}));
    fs.writeSync(1, JSON.stringify(line) + '\n');
  }
})();
