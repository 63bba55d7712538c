// SPDX-License-Identifier: Apache-2.0
// The SDK over TLS, with a client certificate and without.
"use strict";
const test = require("node:test");
const { assert, setting, agentOf, client, run, newQueue, receive } = require("./support.cjs");

test("the SDK works over TLS with its client certificate", async () => {
  const url = await newQueue();
  assert.ok(url.startsWith("https://"), url);
  const poll = receive(url, { WaitTimeSeconds: 20 });
  const body = "über TLS ".repeat(20000); // many records
  await run("SendMessage", { QueueUrl: url, MessageBody: body }, client());
  const [message] = await poll;
  assert.equal(message.Body, body);
  await run("DeleteMessage", { QueueUrl: url, ReceiptHandle: message.ReceiptHandle });
  for (let i = 0; i < 20; i++) await run("GetQueueUrl", { QueueName: url.split("/").at(-1) });
});

test("without a certificate, with one of others, or trusting others there is no way in", async () => {
  const { ca, cert, key } = setting.tls;
  for (const [tls, pattern] of [
    [{ ca }, /certificate required/],
    [{ ca, cert: setting.other.cert, key: setting.other.key }, /unknown ca/],
    [{ ca: setting.other.ca, cert, key }, /self-signed|issuer|verify/],
  ]) {
    let error;
    const stranger = client({ requestHandler: { httpsAgent: agentOf(tls) } });
    await run("ListQueues", {}, stranger).catch((caught) => { error = caught; });
    assert.ok(error, JSON.stringify(tls));
    assert.match(`${error.message} ${error.code} ${error.cause}`, pattern);
  }
});
