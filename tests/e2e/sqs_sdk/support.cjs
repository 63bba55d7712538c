// SPDX-License-Identifier: Apache-2.0
// What the scripts share: the SDK's client for the hub that the caller names on standard input.
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const fs = require("node:fs");
const https = require("node:https");
const sqs = require("@aws-sdk/client-sqs");

// {endpoint, region, keys: {name: {accessKeyId, secretAccessKey}}, tls: {ca, cert, key}, files to read
// in PEM}; secrets come by no other way.
const setting = JSON.parse(fs.readFileSync(0, "utf8"));

function agentOf(tls) {
  const read = (name) => (tls[name] ? fs.readFileSync(tls[name]) : undefined);
  return new https.Agent({ ca: read("ca"), cert: read("cert"), key: read("key"), keepAlive: true });
}
const agent = setting.tls ? agentOf(setting.tls) : undefined;

function client(more = {}, key = "default") {
  return new sqs.SQSClient({
    endpoint: setting.endpoint,
    region: setting.region,
    credentials: setting.keys[key],
    maxAttempts: 1, // an error is to be seen, not tried again
    ...(agent ? { requestHandler: { httpsAgent: agent } } : {}),
    ...more,
  });
}

const shared = client();

// Runs an operation by its name.
function run(operation, input, on = shared) {
  return on.send(new sqs[`${operation}Command`](input));
}

let serial = 0;
async function newQueue(attributes = {}, name = `sdk-${process.pid}-${++serial}`) {
  const made = await run("CreateQueue", { QueueName: name, Attributes: attributes });
  return made.QueueUrl;
}

const nameOf = (url) => url.slice(url.lastIndexOf("/") + 1);
const md5 = (data) => crypto.createHash("md5").update(data).digest("hex");

async function arnOf(url) {
  const found = await run("GetQueueAttributes", { QueueUrl: url, AttributeNames: ["QueueArn"] });
  return found.Attributes.QueueArn;
}

async function receive(url, more = {}) {
  const got = await run("ReceiveMessage", {
    QueueUrl: url,
    MaxNumberOfMessages: 10,
    MessageSystemAttributeNames: ["All"],
    MessageAttributeNames: ["All"],
    ...more,
  });
  return got.Messages ?? [];
}

// The call must fail with this class of the SDK, or, for errors that the SDK has no class for, with
// this name of an SQSServiceException.
async function refused(promise, kind, status) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, `was done, and should have been refused with ${kind}`);
  const known = sqs[kind];
  if (known !== undefined) assert.ok(error instanceof known, `${error.name}: ${error.message}`);
  else assert.equal(error.name, kind, error.message);
  assert.ok(error instanceof sqs.SQSServiceException, error.stack);
  if (status !== undefined) assert.equal(error.$metadata.httpStatusCode, status);
  assert.ok(error.message.length > 10, "an error without a text");
  return error;
}

// MD5OfMessageAttributes by the published rule.
function attributesMd5(attributes) {
  const parts = [];
  const block = (data) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    parts.push(length, data);
  };
  for (const name of Object.keys(attributes).sort()) {
    const { DataType, StringValue, BinaryValue } = attributes[name];
    block(Buffer.from(name));
    block(Buffer.from(DataType));
    parts.push(Buffer.from([BinaryValue ? 2 : 1]));
    block(Buffer.from(BinaryValue ?? StringValue));
  }
  return md5(Buffer.concat(parts));
}

module.exports = {
  assert, sqs, setting, agentOf, client, shared, run, newQueue, nameOf, md5, arnOf, receive, refused,
  attributesMd5,
};
