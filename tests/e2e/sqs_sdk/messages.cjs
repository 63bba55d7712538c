// SPDX-License-Identifier: Apache-2.0
// Messages through the SDK: sending, leases, batches, attributes, long polls.
"use strict";
const test = require("node:test");
const { assert, run, newQueue, md5, receive, refused, attributesMd5, client } =
  require("./support.cjs");

test("a message comes as it was sent, with its digest and system attributes", async () => {
  const queue = await newQueue();
  const before = Date.now();
  const body = '{"a":"\\u00e9 \u{1F600} \\" \\\\ </tag>\n\t"} \u0085\u2028 \ud7ff\ue000\ufffd';
  const sent = await run("SendMessage", { QueueUrl: queue, MessageBody: body });
  assert.equal(sent.MD5OfMessageBody, md5(body));
  assert.equal(sent.MD5OfMessageAttributes, undefined);
  const [message, ...more] = await receive(queue);
  assert.equal(more.length, 0);
  assert.equal(message.Body, body);
  assert.equal(message.MessageId, sent.MessageId);
  assert.equal(message.MD5OfBody, md5(body));
  assert.equal(message.MessageAttributes, undefined);
  const system = message.Attributes;
  assert.equal(system.ApproximateReceiveCount, "1");
  assert.equal(system.SenderId, require("./support.cjs").setting.keys.default.accessKeyId);
  for (const name of ["SentTimestamp", "ApproximateFirstReceiveTimestamp"])
    assert.ok(Math.abs(Number(system[name]) - before) < 60000, `${name}: ${system[name]}`);
  const bare = await run("SendMessage", { QueueUrl: queue, MessageBody: "x" });
  const [plain] = await receive(queue, { MessageSystemAttributeNames: undefined });
  assert.equal(plain.MessageId, bare.MessageId);
  assert.equal(plain.Attributes, undefined);
});

const attributes = {
  text: { DataType: "String", StringValue: "Grüße, \u{1F600}" },
  "text.more": { DataType: "String.iso-8601", StringValue: "2026-11-23" },
  count: { DataType: "Number", StringValue: "-12.50e3" },
  "count.int": { DataType: "Number.int", StringValue: "1493147359900" },
  raw: { DataType: "Binary", BinaryValue: Uint8Array.from([0, 255, 1, 128, 10]) },
  "raw.png": { DataType: "Binary.png", BinaryValue: Uint8Array.from(Array(5000).keys()) },
};

test("message attributes of every type come back, and their digest is that of AWS", async () => {
  const queue = await newQueue();
  const sent = await run("SendMessage", {
    QueueUrl: queue, MessageBody: "x", MessageAttributes: attributes,
    MessageSystemAttributes: {
      AWSTraceHeader: { DataType: "String", StringValue: "Root=1-5759e988-bd862e3fe1be46a994272793" },
    },
  });
  assert.equal(sent.MD5OfMessageAttributes, attributesMd5(attributes));
  assert.equal(sent.MD5OfMessageSystemAttributes, attributesMd5({
    AWSTraceHeader: { DataType: "String", StringValue: "Root=1-5759e988-bd862e3fe1be46a994272793" },
  }));
  const [message] = await receive(queue);
  assert.equal(message.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
  assert.deepEqual(Object.keys(message.MessageAttributes).sort(), Object.keys(attributes).sort());
  for (const [name, { DataType, StringValue, BinaryValue }] of Object.entries(attributes)) {
    const got = message.MessageAttributes[name];
    assert.equal(got.DataType, DataType);
    assert.equal(got.StringValue, StringValue);
    assert.deepEqual(got.BinaryValue, BinaryValue);
  }
  assert.equal(message.Attributes.AWSTraceHeader, "Root=1-5759e988-bd862e3fe1be46a994272793");
});

test("a digest that AWS has given for an attribute is ours", async () => {
  const queue = await newQueue();
  const sent = await run("SendMessage", {
    QueueUrl: queue, MessageBody: "x",
    MessageAttributes: { timestamp: { DataType: "Number", StringValue: "1493147359900" } },
  });
  assert.equal(sent.MD5OfMessageAttributes, "235c5c510d26fb653d073faed50ae77c");
});

test("a receive gets the attributes that it asks for by name or by their beginning", async () => {
  const queue = await newQueue();
  await run("SendMessage", { QueueUrl: queue, MessageBody: "x", MessageAttributes: attributes });
  const cases = [
    [undefined, []], [[], []], [["All"], Object.keys(attributes)], [[".*"], Object.keys(attributes)],
    [["text"], ["text"]], [["text.*"], ["text", "text.more"]], [["raw.*", "count"],
      ["raw", "raw.png", "count"]], [["nothing", "tex"], []],
  ];
  for (const [names, wanted] of cases) {
    const [message] = await receive(queue, { MessageAttributeNames: names, VisibilityTimeout: 0 });
    assert.deepEqual(Object.keys(message.MessageAttributes ?? {}).sort(), [...wanted].sort());
    const shown = Object.fromEntries(wanted.map((name) => [name, attributes[name]]));
    assert.equal(message.MD5OfMessageAttributes, wanted.length ? attributesMd5(shown) : undefined);
  }
});

test("attributes that are none are refused", async () => {
  const queue = await newQueue();
  const text = (StringValue, DataType = "String") => ({ DataType, StringValue });
  const bad = [
    { "": text("x") }, { ".a": text("x") }, { "a.": text("x") }, { "a..b": text("x") },
    { "a b": text("x") }, { "AWS.a": text("x") }, { "amazon.a": text("x") }, { ä: text("x") },
    { ["n".repeat(257)]: text("x") }, { a: text("") }, { a: text("x", "Text") },
    { a: text("x", "Stringy") }, { a: text("x", "") }, { a: text("\u0001") }, { a: text("\uffff") },
    { a: text("x", "Number") }, { a: text("1e", "Number") }, { a: text("1".repeat(39), "Number") },
    { a: { DataType: "Binary", StringValue: "x" } }, { a: { DataType: "String" } },
    { a: { DataType: "Binary", BinaryValue: new Uint8Array() } },
    Object.fromEntries([...Array(11).keys()].map((i) => [`a${i}`, text("x")])),
  ];
  for (const MessageAttributes of bad) {
    const long = Object.keys(MessageAttributes)[0].length > 256; // the JSON reader's own bound
    await refused(run("SendMessage", { QueueUrl: queue, MessageBody: "x", MessageAttributes }),
      long ? "SerializationException" : "InvalidParameterValue", 400);
  }
  await run("SendMessage", {
    QueueUrl: queue, MessageBody: "x", MessageAttributes: { ["n".repeat(256)]: text("x") },
  });
  const [message] = await receive(queue);
  assert.deepEqual(Object.keys(message.MessageAttributes), ["n".repeat(256)]);
});

test("characters that XML does not allow are refused", async () => {
  const queue = await newQueue();
  for (const character of ["\u0000", "\u0001", "\u001f", "\ufffe", "\uffff"]) {
    const sending = run("SendMessage", { QueueUrl: queue, MessageBody: `a${character}b` });
    if (character === "\u0000") await refused(sending, "SerializationException");
    else await refused(sending, "InvalidMessageContents", 400);
  }
  await refused(run("SendMessage", { QueueUrl: queue, MessageBody: "" }), "MissingParameter");
});

test("big messages pass up to the size that the queue takes, attributes counted", async () => {
  const queue = await newQueue({ MaximumMessageSize: "1048576" });
  const body = "ä\"".repeat(349525) + "x"; // 3 bytes each
  assert.equal(Buffer.byteLength(body), 1048576);
  await run("SendMessage", { QueueUrl: queue, MessageBody: body });
  const [message] = await receive(queue);
  assert.equal(message.Body, body);
  await refused(run("SendMessage", { QueueUrl: queue, MessageBody: body + "x" }),
    "InvalidParameterValue");
  await refused(run("SendMessage", {
    QueueUrl: queue, MessageBody: body.slice(0, -1),
    MessageAttributes: { a: { DataType: "String", StringValue: "x" } },
  }), "InvalidParameterValue");
  const small = await newQueue({ MaximumMessageSize: "1024" });
  await run("SendMessage", { QueueUrl: small, MessageBody: "x".repeat(1024) });
  await refused(run("SendMessage", { QueueUrl: small, MessageBody: "x".repeat(1025) }),
    "InvalidParameterValue");
  const halves = [0, 1].map((i) => ({ Id: `e${i}`, MessageBody: "x".repeat(524289) }));
  await refused(run("SendMessageBatch", { QueueUrl: queue, Entries: halves }),
    "BatchRequestTooLong", 400);
});

test("a batch does what it can and names what it cannot", async () => {
  const queue = await newQueue({ MaximumMessageSize: "1024" });
  const Entries = [...Array(7).keys()].map((i) => ({ Id: `e${i}`, MessageBody: `body ${i}` }));
  Entries.push({ Id: "characters", MessageBody: "\u0002" }, { Id: "large", MessageBody: "x".repeat(2000) },
    { Id: "delay", MessageBody: "x", DelaySeconds: 901 });
  Entries[0].MessageAttributes = { n: { DataType: "Number", StringValue: "1" } };
  const sent = await run("SendMessageBatch", { QueueUrl: queue, Entries });
  assert.deepEqual(sent.Successful.map((one) => one.Id), Entries.slice(0, 7).map((one) => one.Id));
  assert.equal(sent.Successful[0].MD5OfMessageAttributes, attributesMd5(Entries[0].MessageAttributes));
  assert.deepEqual(sent.Failed.map((one) => [one.Id, one.Code, one.SenderFault]), [
    ["characters", "InvalidMessageContents", true], ["large", "InvalidParameterValue", true],
    ["delay", "InvalidParameterValue", true]]);
  const messages = await receive(queue);
  assert.deepEqual(messages.map((one) => one.Body), Entries.slice(0, 7).map((one) => one.MessageBody));
  const handles = messages.map((one, i) => ({ Id: `h${i}`, ReceiptHandle: one.ReceiptHandle }));
  handles.push({ Id: "no", ReceiptHandle: "no handle" });
  const changed = await run("ChangeMessageVisibilityBatch", {
    QueueUrl: queue, Entries: handles.map((one) => ({ ...one, VisibilityTimeout: 90 })),
  });
  assert.equal(changed.Successful.length, 7);
  assert.deepEqual(changed.Failed.map((one) => [one.Id, one.Code]), [["no", "ReceiptHandleIsInvalid"]]);
  const deleted = await run("DeleteMessageBatch", { QueueUrl: queue, Entries: handles });
  assert.equal(deleted.Successful.length, 7);
  assert.equal(deleted.Failed.length, 1);
});

test("batches that are none are refused with their own classes", async () => {
  const queue = await newQueue();
  const entry = (Id) => ({ Id, MessageBody: "x" });
  const send = (Entries) => run("SendMessageBatch", { QueueUrl: queue, Entries });
  await refused(send([]), "EmptyBatchRequest", 400);
  await refused(send([...Array(11).keys()].map((i) => entry(`e${i}`))),
    "TooManyEntriesInBatchRequest", 400);
  await refused(send([entry("a"), entry("b"), entry("a")]), "BatchEntryIdsNotDistinct", 400);
  for (const id of ["", "a b", "x".repeat(81), "ä"])
    await refused(send([entry(id)]), "InvalidBatchEntryId", 400);
  await refused(run("DeleteMessageBatch", { QueueUrl: queue, Entries: [] }), "EmptyBatchRequest");
});

test("a lease hides, is extended, ends early, and only its newest handle holds", async () => {
  const queue = await newQueue();
  await run("SendMessage", { QueueUrl: queue, MessageBody: "x" });
  const [first] = await receive(queue, { VisibilityTimeout: 60 });
  assert.deepEqual(await receive(queue), []);
  const change = (message, VisibilityTimeout) => run("ChangeMessageVisibility", {
    QueueUrl: queue, ReceiptHandle: message.ReceiptHandle, VisibilityTimeout,
  });
  await change(first, 3600);
  assert.deepEqual(await receive(queue), []);
  await change(first, 0);
  await refused(change(first, 30), "MessageNotInflight", 400);
  const [second] = await receive(queue);
  assert.equal(second.MessageId, first.MessageId);
  assert.equal(second.Attributes.ApproximateReceiveCount, "2");
  await refused(change(first, 30), "ReceiptHandleIsInvalid", 404);
  const remove = (ReceiptHandle) => run("DeleteMessage", { QueueUrl: queue, ReceiptHandle });
  await refused(remove(first.ReceiptHandle), "ReceiptHandleIsInvalid", 404);
  await refused(remove("no handle"), "ReceiptHandleIsInvalid", 404);
  await remove(second.ReceiptHandle);
  await remove(second.ReceiptHandle); // deleted is deleted
  await refused(change(second, 43201), "InvalidParameterValue");
  const other = await newQueue();
  await run("SendMessage", { QueueUrl: other, MessageBody: "x" });
  const [elsewhere] = await receive(other);
  await refused(remove(elsewhere.ReceiptHandle), "ReceiptHandleIsInvalid");
});

test("a long poll ends with the message that comes, an empty one by its time", async () => {
  const queue = await newQueue();
  const begun = process.hrtime.bigint();
  const poll = receive(queue, { WaitTimeSeconds: 20 });
  // An answer to a later request on another connection shows that the hub has seen the poll.
  for (let i = 0; i < 10; i++)
    await run("GetQueueAttributes", { QueueUrl: queue, AttributeNames: ["All"] }, client());
  await run("SendMessage", { QueueUrl: queue, MessageBody: "at last" });
  assert.equal((await poll)[0].Body, "at last");
  assert.ok(process.hrtime.bigint() - begun < 15_000_000_000n);
  const empty = process.hrtime.bigint();
  assert.deepEqual(await receive(queue, { WaitTimeSeconds: 1 }), []);
  assert.ok(process.hrtime.bigint() - empty >= 1_000_000_000n);
});

test("a delayed message is counted as such, and comes when its time has come", async () => {
  const queue = await newQueue({ DelaySeconds: "900" });
  await run("SendMessage", { QueueUrl: queue, MessageBody: "late" });
  const begun = process.hrtime.bigint();
  await run("SendMessage", { QueueUrl: queue, MessageBody: "soon", DelaySeconds: 1 });
  const names = ["ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessages"];
  const counts = await run("GetQueueAttributes", { QueueUrl: queue, AttributeNames: names });
  assert.deepEqual(counts.Attributes, { [names[0]]: "2", [names[1]]: "0" });
  const [message] = await receive(queue, { WaitTimeSeconds: 20 });
  assert.equal(message.Body, "soon");
  assert.ok(process.hrtime.bigint() - begun >= 1_000_000_000n);
});
