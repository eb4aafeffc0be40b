// What the original face-api says about images: node benchmarks/face_api_reference.mjs NODE IMAGES OUT.json [age]
//
// NODE is a folder in which the packages were installed, on TensorFlow.js' plain JavaScript backend:
//   npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
// IMAGES holds binary PPM files (P6, 8 bits); OUT gets the logits and the named probabilities of each,
// or with `age` the years, and the logits and the probability of a man.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const [node, images, out, age] = process.argv.slice(2);
const require = createRequire(join(resolve(node), "/"));
const api = require.resolve("@vladmandic/face-api/dist/face-api.node-wasm.js");
const faceapi = require(api);
const { tf } = faceapi;

function readImage(path) {
  const content = readFileSync(path);
  const [header, width, height] = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(content.toString("latin1", 0, 40));
  return tf.tensor3d(Uint8Array.from(content.subarray(header.length)), [Number(height), Number(width), 3], "int32");
}

await tf.setBackend("cpu");
await tf.ready();
const network = age ? faceapi.nets.ageGenderNet : faceapi.nets.faceExpressionNet;
await network.loadFromDisk(join(dirname(api), "..", "model"));
const answers = {};
for (const name of readdirSync(images).filter((file) => file.endsWith(".ppm")).sort()) {
  const image = readImage(join(images, name));
  const raw = network.runNet(await faceapi.toNetInput(image));
  answers[name.replace(/\.ppm$/, "")] = age
    ? { years: raw.age.dataSync()[0], logits: [...raw.gender.dataSync()], ...(await network.predictAgeAndGender(image)) }
    : { logits: [...raw.dataSync()], probabilities: { ...(await network.predictExpressions(image)) } };
}
const versions = { "face-api": faceapi.version, tfjs: tf.version.tfjs, backend: tf.getBackend(), node: process.version };
writeFileSync(out, `${JSON.stringify({ versions, answers }, null, 1)}\n`);
