// SPDX-License-Identifier: Apache-2.0
// Queues through the SDK: making, setting, listing, purging, deleting, dead letters.
"use strict";
const test = require("node:test");
const { assert, sqs, shared, run, newQueue, nameOf, arnOf, receive, refused } =
  require("./support.cjs");

const attributesOf = async (url, ...AttributeNames) =>
  (await run("GetQueueAttributes", { QueueUrl: url, AttributeNames })).Attributes;

async function fill(url, count) {
  for (let at = 0; at < count; at += 10) {
    const Entries = [...Array(Math.min(10, count - at)).keys()]
      .map((i) => ({ Id: `e${i}`, MessageBody: `body ${at + i}` }));
    const sent = await run("SendMessageBatch", { QueueUrl: url, Entries });
    assert.equal(sent.Successful.length, Entries.length);
  }
}

// Calls until the answer is as wanted; for what goes on in the hub's background.
async function until(ask, wanted) {
  const end = Date.now() + 30000;
  for (;;) {
    const found = await ask();
    if (wanted(found)) return found;
    assert.ok(Date.now() < end, `did not happen: ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("a queue is made once, found by its name, and refused with other attributes", async () => {
  const url = await newQueue({ VisibilityTimeout: "7" });
  assert.equal(await newQueue({ VisibilityTimeout: "7" }, nameOf(url)), url);
  assert.equal(await newQueue({}, nameOf(url)), url);
  await refused(newQueue({ VisibilityTimeout: "8" }, nameOf(url)), "QueueNameExists", 400);
  assert.equal((await run("GetQueueUrl", { QueueName: nameOf(url) })).QueueUrl, url);
  const missing = url + "-not";
  await refused(run("GetQueueUrl", { QueueName: nameOf(missing) }), "QueueDoesNotExist", 400);
  const error = await refused(run("SendMessage", { QueueUrl: missing, MessageBody: "x" }),
    "QueueDoesNotExist", 400);
  assert.equal(error.Code ?? error.Error.Code, "AWS.SimpleQueueService.NonExistentQueue");
  for (const name of ["", "a b", "x".repeat(81)])
    await refused(newQueue({}, name), "InvalidParameterValue");
  await refused(newQueue({ FifoQueue: "true" }), "UnsupportedOperation", 400);
  await refused(newQueue({}, "orders.fifo"), "InvalidParameterValue");
});

test("attributes are set within their bounds and come back", async () => {
  const url = await newQueue();
  const set = (Attributes) => run("SetQueueAttributes", { QueueUrl: url, Attributes });
  const wanted = {
    VisibilityTimeout: "43200", DelaySeconds: "900", ReceiveMessageWaitTimeSeconds: "20",
    MessageRetentionPeriod: "1209600", MaximumMessageSize: "2048",
  };
  await set(wanted);
  assert.deepEqual(await attributesOf(url, ...Object.keys(wanted)), wanted);
  const all = await attributesOf(url, "All");
  for (const name of ["QueueArn", "CreatedTimestamp", "LastModifiedTimestamp",
    "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed"])
    assert.ok(all[name], name);
  assert.equal(all.QueueArn.split(":").at(-1), nameOf(url));
  for (const bad of [{ VisibilityTimeout: "43201" }, { VisibilityTimeout: "-1" },
    { DelaySeconds: "901" }, { ReceiveMessageWaitTimeSeconds: "21" }, { MaximumMessageSize: "1023" },
    { MaximumMessageSize: "1048577" }, { MessageRetentionPeriod: "59" }, { RedrivePolicy: "{" },
    { RedriveAllowPolicy: '{"redrivePermission":"x"}' }, { DelaySeconds: "one" }])
    await refused(set(bad), "InvalidAttributeValue", 400);
  for (const bad of [{ QueueArn: "x" }, { Nonsense: "1" }])
    await refused(set(bad), "InvalidAttributeName", 400);
  await refused(attributesOf(url, "Nonsense"), "InvalidAttributeName", 400);
  assert.equal((await attributesOf(url, "All")).MaximumMessageSize, "2048");
});

test("queues are listed by their beginning and page by page, without gaps", async () => {
  const names = [];
  const prefix = `page-${process.pid}-`;
  for (let i = 0; i < 23; i++) names.push(`${prefix}${String(i * 7 % 23).padStart(2, "0")}`);
  for (const name of names) await newQueue({}, name);
  names.sort();
  const whole = await run("ListQueues", { QueueNamePrefix: prefix });
  assert.deepEqual(whole.QueueUrls.map(nameOf), names);
  assert.equal(whole.NextToken, undefined);
  for (const size of [1, 5, 22, 23, 1000]) {
    const seen = [];
    let pages = 0;
    const paginator = sqs.paginateListQueues({ client: shared, pageSize: size },
      { QueueNamePrefix: prefix });
    for await (const page of paginator) {
      seen.push(...(page.QueueUrls ?? []).map(nameOf));
      pages++;
    }
    assert.deepEqual(seen, names);
    assert.equal(pages, Math.ceil(23 / size));
  }
  const everything = await run("ListQueues", {});
  assert.ok(everything.QueueUrls.map(nameOf).includes("reseal-requests"));
  const none = await run("ListQueues", { QueueNamePrefix: "nothing-begins-so" });
  assert.equal((none.QueueUrls ?? []).length, 0);
  await refused(run("ListQueues", { MaxResults: 0 }), "InvalidParameterValue");
  await refused(run("ListQueues", { MaxResults: 1001 }), "InvalidParameterValue");
  await refused(run("ListQueues", { MaxResults: 1, NextToken: "%" }), "InvalidParameterValue");
});

test("a purge takes what was sent before, leased or delayed, and nothing that comes after", async () => {
  const url = await newQueue();
  await fill(url, 40);
  await run("SendMessage", { QueueUrl: url, MessageBody: "late", DelaySeconds: 900 });
  const [leased] = await receive(url, { MaxNumberOfMessages: 1 });
  await run("PurgeQueue", { QueueUrl: url });
  await run("SendMessage", { QueueUrl: url, MessageBody: "after" });
  assert.deepEqual((await receive(url)).map((one) => one.Body), ["after"]);
  const counts = await attributesOf(url, "All");
  assert.equal(counts.ApproximateNumberOfMessagesDelayed, "0");
  assert.equal(counts.ApproximateNumberOfMessagesNotVisible, "1");
  await run("DeleteMessage", { QueueUrl: url, ReceiptHandle: leased.ReceiptHandle });
  await refused(run("PurgeQueue", { QueueUrl: url }), "PurgeQueueInProgress", 403);
  await refused(run("PurgeQueue", { QueueUrl: url + "-not" }), "QueueDoesNotExist");
});

test("a deleted queue is gone with its messages, and its name is free at once", async () => {
  const url = await newQueue();
  await fill(url, 20);
  const poll = receive(url + "-2", {}).catch((error) => error);
  await run("DeleteQueue", { QueueUrl: url });
  await refused(run("SendMessage", { QueueUrl: url, MessageBody: "x" }), "QueueDoesNotExist");
  await refused(run("DeleteQueue", { QueueUrl: url }), "QueueDoesNotExist");
  assert.ok((await poll) instanceof sqs.QueueDoesNotExist);
  assert.equal(await newQueue({}, nameOf(url)), url);
  assert.deepEqual(await receive(url), []);
});

test("who waits at a queue that is deleted is told so", async () => {
  const url = await newQueue();
  const poll = refused(receive(url, { WaitTimeSeconds: 20 }), "QueueDoesNotExist");
  for (let i = 0; i < 10; i++) await attributesOf(url, "All");
  await run("DeleteQueue", { QueueUrl: url });
  await poll;
});

test("the hub's own queues can be purged but not deleted", async () => {
  const prefix = "reseal-";
  const own = (await run("ListQueues", { QueueNamePrefix: prefix })).QueueUrls;
  assert.equal(own.length, 4);
  for (const url of own)
    await refused(run("DeleteQueue", { QueueUrl: url }), "UnsupportedOperation", 400);
  await run("PurgeQueue", { QueueUrl: own[0] });
});

async function pair(more = {}) {
  const dead = await newQueue(more);
  const arn = await arnOf(dead);
  const work = await newQueue({
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: arn, maxReceiveCount: 2 }),
  });
  return { work, dead, arn };
}

test("what is received too often goes to the dead letters and says where it came from", async () => {
  const { work, dead, arn } = await pair();
  assert.deepEqual(JSON.parse((await attributesOf(work, "RedrivePolicy")).RedrivePolicy),
    { deadLetterTargetArn: arn, maxReceiveCount: 2 });
  const MessageAttributes = { a: { DataType: "String", StringValue: "kept" } };
  const sent = await run("SendMessage", { QueueUrl: work, MessageBody: "poison", MessageAttributes });
  for (let i = 0; i < 2; i++)
    assert.equal((await receive(work, { VisibilityTimeout: 0 })).length, 1);
  assert.deepEqual(await receive(work), []);
  const [letter] = await receive(dead);
  assert.equal(letter.MessageId, sent.MessageId);
  assert.equal(letter.MD5OfMessageAttributes, sent.MD5OfMessageAttributes);
  assert.equal(letter.Attributes.DeadLetterQueueSourceArn, await arnOf(work));
  const sources = await run("ListDeadLetterSourceQueues", { QueueUrl: dead });
  assert.deepEqual(sources.queueUrls, [work]);
  assert.deepEqual((await run("ListDeadLetterSourceQueues", { QueueUrl: work })).queueUrls, []);
  await run("DeleteQueue", { QueueUrl: dead }); // and the policy that named it is gone
  assert.equal((await attributesOf(work, "All")).RedrivePolicy, undefined);
});

test("a queue says from where it takes dead letters", async () => {
  const source = await newQueue();
  const policy = (redrivePermission, more = {}) =>
    ({ RedriveAllowPolicy: JSON.stringify({ redrivePermission, ...more }) });
  const dead = await newQueue(policy("denyAll"));
  const redrive = async (maxReceiveCount) => run("SetQueueAttributes", {
    QueueUrl: source,
    Attributes: {
      RedrivePolicy: JSON.stringify({ deadLetterTargetArn: await arnOf(dead), maxReceiveCount }),
    },
  });
  await refused(redrive(3), "InvalidAttributeValue", 400);
  const mine = policy("byQueue", { sourceQueueArns: [await arnOf(source)] });
  await run("SetQueueAttributes", { QueueUrl: dead, Attributes: mine });
  assert.deepEqual(await attributesOf(dead, "RedriveAllowPolicy"), mine);
  await redrive(3);
  await run("SetQueueAttributes", { QueueUrl: dead, Attributes: policy("allowAll") });
  await redrive("4");
});

test("dead letters are moved back to where they came from, as new messages", async () => {
  const { work, dead, arn } = await pair();
  await fill(work, 25);
  for (let i = 0; i < 3; i++)
    for (let left = 25; left > 0; left -= 10) await receive(work, { VisibilityTimeout: 0 });
  const dropped = () => attributesOf(dead, "ApproximateNumberOfMessages");
  await until(async () => {
    await receive(work, { VisibilityTimeout: 0 });
    return dropped();
  }, (found) => found.ApproximateNumberOfMessages === "25");
  const task = await run("StartMessageMoveTask", { SourceArn: arn });
  assert.ok(task.TaskHandle);
  const ended = await until(
    async () => (await run("ListMessageMoveTasks", { SourceArn: arn })).Results[0],
    (move) => move.Status !== "RUNNING");
  assert.equal(ended.Status, "COMPLETED", JSON.stringify(ended));
  assert.equal(ended.ApproximateNumberOfMessagesMoved, 25);
  assert.equal(ended.ApproximateNumberOfMessagesToMove, 25);
  assert.equal((await dropped()).ApproximateNumberOfMessages, "0");
  const [message] = await receive(work);
  assert.equal(message.Attributes.ApproximateReceiveCount, "1");
  assert.equal(message.Attributes.DeadLetterQueueSourceArn, undefined);
  await refused(run("CancelMessageMoveTask", { TaskHandle: task.TaskHandle }),
    "UnsupportedOperation", 400);
});

test("a move obeys its rate and its cancelling, and goes to another queue too", async () => {
  const { work, dead, arn } = await pair();
  const other = await newQueue();
  await fill(dead, 30);
  const start = { SourceArn: arn, DestinationArn: await arnOf(other), MaxNumberOfMessagesPerSecond: 1 };
  const task = await run("StartMessageMoveTask", start);
  await refused(run("StartMessageMoveTask", start), "UnsupportedOperation", 400);
  const [running] = (await run("ListMessageMoveTasks", { SourceArn: arn })).Results;
  assert.equal(running.Status, "RUNNING");
  assert.equal(running.TaskHandle, task.TaskHandle);
  assert.equal(running.DestinationArn, start.DestinationArn);
  const ended = await run("CancelMessageMoveTask", { TaskHandle: task.TaskHandle });
  assert.ok(ended.ApproximateNumberOfMessagesMoved < 30);
  const [cancelled] = (await run("ListMessageMoveTasks", { SourceArn: arn })).Results;
  assert.equal(cancelled.Status, "CANCELLED");
  await run("StartMessageMoveTask", { ...start, MaxNumberOfMessagesPerSecond: 500 });
  await until(() => attributesOf(other, "ApproximateNumberOfMessages"),
    (found) => found.ApproximateNumberOfMessages === "30");
  await refused(run("StartMessageMoveTask", { SourceArn: await arnOf(work) }),
    "UnsupportedOperation", 400);
  await refused(run("StartMessageMoveTask", { SourceArn: arn + "-not" }),
    "ResourceNotFoundException", 404);
  await refused(run("CancelMessageMoveTask", { TaskHandle: "no" }), "ResourceNotFoundException", 404);
});

test("letters that came from nowhere cannot go back", async () => {
  const { dead, arn } = await pair();
  await run("SendMessage", { QueueUrl: dead, MessageBody: "sent here by hand" });
  await run("StartMessageMoveTask", { SourceArn: arn });
  const ended = await until(
    async () => (await run("ListMessageMoveTasks", { SourceArn: arn })).Results[0],
    (move) => move.Status !== "RUNNING");
  assert.equal(ended.Status, "FAILED");
  assert.equal(ended.FailureReason, "CouldNotDetermineMessageSource");
  assert.equal((await receive(dead)).length, 1);
});

test("what the hub does not have is said so", async () => {
  const url = await newQueue();
  await refused(run("TagQueue", { QueueUrl: url, Tags: { a: "b" } }), "UnknownOperation");
  await refused(run("AddPermission", {
    QueueUrl: url, Label: "x", AWSAccountIds: ["1"], Actions: ["*"],
  }), "UnknownOperation");
  await refused(run("SendMessage", { QueueUrl: url, MessageBody: "x", MessageGroupId: "g" }),
    "InvalidParameterValue");
});
