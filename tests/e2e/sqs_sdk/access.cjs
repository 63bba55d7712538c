// SPDX-License-Identifier: Apache-2.0
// Who may do what, through the SDK: signatures, clocks, rights, and keys that change meanwhile.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const test = require("node:test");
const { assert, setting, client, run, newQueue, nameOf, receive, refused } =
  require("./support.cjs");

// A client whose requests are changed after they have been signed.
function meddler(change) {
  const meddling = client();
  meddling.middlewareStack.add((next) => async (args) => {
    change(args.request);
    return next(args);
  }, { step: "finalizeRequest", priority: "low", name: "meddle" });
  return meddling;
}

const textOf = (request) => Buffer.from(request.body).toString();
function setBody(request, text) {
  request.body = text;
  request.headers["content-length"] = String(Buffer.byteLength(text));
}

test("who has no key of the hub is told by name what is wrong", async () => {
  const known = setting.keys.default;
  const wrong = (credentials) => run("ListQueues", {}, client({ credentials }));
  await refused(wrong({ accessKeyId: "AKNOBODY", secretAccessKey: known.secretAccessKey }),
    "InvalidClientTokenId", 403);
  await refused(wrong({ accessKeyId: known.accessKeyId, secretAccessKey: "x".repeat(40) }),
    "SignatureDoesNotMatch", 403);
  const error = await refused(wrong({ ...known, sessionToken: "token" }), "InvalidClientTokenId", 403);
  assert.match(error.message, /session token/);
  const [region, otherRegion] = await Promise.all(["eu-central-1", "us-east-1"].map((name) =>
    run("ListQueues", {}, client({ region: name }))));
  assert.equal(region.QueueUrls.length, otherRegion.QueueUrls.length);
});

test("a request that was changed after it was signed is refused", async () => {
  const url = await newQueue();
  const changes = [
    (request) => { setBody(request, textOf(request).replace("body", "ydob")); },
    (request) => { setBody(request, textOf(request) + " "); },
    (request) => { request.headers["x-amz-target"] = "AmazonSQS.DeleteQueue"; },
    (request) => { request.headers["x-amz-date"] = request.headers["x-amz-date"].replace(/..Z/, "59Z"); },
    (request) => { request.headers.host = "127.0.0.2:1"; },
    (request) => { request.headers["content-type"] = "application/x-amz-json-1.0; x=y"; },
    (request) => {
      const scope = /Credential=([^/]*)\/(\d*)\/[^/]*\//;
      request.headers.authorization =
        request.headers.authorization.replace(scope, "Credential=$1/$2/elsewhere/");
    },
  ];
  for (const change of changes)
    await refused(run("SendMessage", { QueueUrl: url, MessageBody: "body" }, meddler(change)),
      "SignatureDoesNotMatch", 403);
  const forms = [
    (request) => {
      request.headers.authorization = request.headers.authorization.replace(/host;/, "");
    },
    (request) => {
      request.headers.authorization = request.headers.authorization.replace(/;x-amz-target/, "");
    },
    (request) => {
      request.headers.authorization = request.headers.authorization.replace("/sqs/", "/s3/");
    },
    (request) => { request.headers.authorization = "AWS4-HMAC-SHA256 x"; },
  ];
  for (const change of forms)
    await refused(run("SendMessage", { QueueUrl: url, MessageBody: "body" }, meddler(change)),
      "IncompleteSignature", 400);
  await refused(run("ListQueues", {}, meddler((request) => delete request.headers.authorization)),
    "MissingAuthenticationToken", 403);
  assert.deepEqual(await receive(url), []);
});

test("a clock that is off by more than 15 minutes is named, and the SDK sets itself right", async () => {
  const off = (minutes) => client({ systemClockOffset: minutes * 60_000 });
  await run("ListQueues", {}, off(14));
  await run("ListQueues", {}, off(-14));
  for (const [minutes, kind] of [[16, "RequestInTheFuture"], [-16, "RequestExpired"],
    [24 * 60, "RequestInTheFuture"], [-24 * 60, "RequestExpired"]]) {
    const wrong = off(minutes);
    await refused(run("ListQueues", {}, wrong), kind, 400);
    await run("ListQueues", {}, wrong); // by the time that the hub has answered with
  }
});

// The same bytes once more, as a network that repeats a request would send them.
function again(request) {
  return new Promise((resolve, reject) => {
    const copy = http.request({
      host: "127.0.0.1", port: new URL(setting.endpoint).port, path: request.path,
      method: request.method, headers: request.headers,
    }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    copy.on("error", reject);
    copy.end(request.body);
  });
}

test("a signed request may be repeated while its time lasts, as with SQS", async () => {
  const url = await newQueue();
  let seen;
  await run("SendMessage", { QueueUrl: url, MessageBody: "once" }, meddler((request) => {
    seen = request;
  }));
  assert.equal(await again(seen), 200);
  assert.equal((await receive(url)).length, 2);
  seen.headers["x-amz-date"] = "20200101T000000Z";
  assert.equal(await again(seen), 400);
});

test("a key does what its rights say and nothing else", async () => {
  const connector = client({}, "connector");
  const base = (await run("GetQueueUrl", { QueueName: "reseal-requests" })).QueueUrl;
  const urlOf = (name) => base.replace("reseal-requests", name);
  const [requests, results] = [base, urlOf("reseal-results")];
  const other = await newQueue();
  await run("SendMessage", { QueueUrl: requests, MessageBody: "for the connector" });

  const may = (operation, input) => run(operation, input, connector);
  assert.deepEqual((await may("ListQueues", {})).QueueUrls.map(nameOf),
    ["reseal-requests", "reseal-results"]);
  for (const name of ["reseal-requests", "reseal-results"]) {
    await may("GetQueueUrl", { QueueName: name });
    await may("GetQueueAttributes", { QueueUrl: urlOf(name), AttributeNames: ["All"] });
  }
  const [message] = (await may("ReceiveMessage", { QueueUrl: requests })).Messages;
  const { ReceiptHandle } = message;
  await may("ChangeMessageVisibility", { QueueUrl: requests, ReceiptHandle, VisibilityTimeout: 9 });
  await may("SendMessage", { QueueUrl: results, MessageBody: "no result, but sent" });
  await may("DeleteMessage", { QueueUrl: requests, ReceiptHandle });

  const denied = async (operation, input) => {
    const error = await refused(may(operation, input), "AccessDenied", 403);
    assert.ok(error.message.includes(setting.keys.connector.accessKeyId));
  };
  await denied("SendMessage", { QueueUrl: requests, MessageBody: "x" });
  await denied("SendMessageBatch", { QueueUrl: requests, Entries: [{ Id: "a", MessageBody: "x" }] });
  await denied("ReceiveMessage", { QueueUrl: results });
  await denied("DeleteMessage", { QueueUrl: results, ReceiptHandle });
  for (const url of [requests, results, other]) {
    await denied("PurgeQueue", { QueueUrl: url });
    await denied("DeleteQueue", { QueueUrl: url });
    await denied("SetQueueAttributes", { QueueUrl: url, Attributes: { DelaySeconds: "9" } });
    await denied("StartMessageMoveTask", { SourceArn: `arn:aws:sqs:x:000000000000:${nameOf(url)}` });
  }
  await denied("CreateQueue", { QueueName: "mine" });
  await denied("GetQueueUrl", { QueueName: nameOf(other) });
  await denied("GetQueueAttributes", { QueueUrl: other, AttributeNames: ["All"] });
  await denied("GetQueueUrl", { QueueName: "not-there" }); // and it does not learn that either

  const family = client({}, "family"); // all:mine-*
  const mine = (await run("CreateQueue", { QueueName: "mine-1" }, family)).QueueUrl;
  await run("SendMessage", { QueueUrl: mine, MessageBody: "x" }, family);
  const [own] = (await run("ReceiveMessage", {
    QueueUrl: mine, MessageSystemAttributeNames: ["SenderId"] }, family)).Messages;
  assert.equal(own.Attributes.SenderId, setting.keys.family.accessKeyId);
  await refused(run("CreateQueue", { QueueName: "other-1" }, family), "AccessDenied", 403);
  await run("DeleteQueue", { QueueUrl: mine }, family);
});

// Puts a text into the place of the hub's credentials, as an editor or `reseal access` does.
function replace(text) {
  const { path } = setting.credentials;
  fs.writeFileSync(path + ".new", text, { mode: 0o600 });
  fs.renameSync(path + ".new", path);
}

const section = (name, key) => `[${name}]\naws_access_key_id = ${key.accessKeyId}\n` +
  `aws_secret_access_key = ${key.secretAccessKey}\n`;

// Asks until the hub says what is wanted: it looks at the file a few times in a second.
async function until(ask, kind) {
  const end = Date.now() + 30000;
  let name;
  do {
    name = await ask().then(() => "done", (error) => error.name);
  } while (name !== kind && Date.now() < end);
  assert.equal(name, kind);
}

test("keys change while the hub runs: the old and the new side by side, then the new alone", async () => {
  const { default: old, fresh } = setting.keys;
  const before = fs.readFileSync(setting.credentials.path, "utf8");
  const [oldClient, newClient] = [client(), client({}, "fresh")];
  const ask = (on) => () => run("ListQueues", {}, on);
  await refused(ask(newClient)(), "InvalidClientTokenId", 403);
  replace(section("old", old) + section("new", fresh));
  await ask(newClient)(); // at once: a key that is not known makes the hub look
  await ask(oldClient)();
  replace(section("new", fresh));
  await until(ask(oldClient), "InvalidClientTokenId");
  await ask(newClient)();
  for (const bad of ["", "[new]\n", "no section", section("new", fresh) + "right = send:x\n",
    section("new", fresh) + "rights = everything\n", section("a", fresh) + section("b", fresh)]) {
    replace(bad);
    await refused(ask(oldClient)(), "InvalidClientTokenId", 403);
    await ask(newClient)(); // a file that is of no use changes nothing
  }
  // The same key with fewer rights, then with another secret half.
  replace(section("old", old) + section("new", fresh) + "rights = send:nothing\n");
  await until(async () => run("CreateQueue", { QueueName: "rotated" }, newClient), "AccessDenied");
  await ask(oldClient)();
  replace(section("new", { ...fresh, secretAccessKey: "s".repeat(40) }) + section("old", old));
  await until(ask(newClient), "SignatureDoesNotMatch");
  replace(before);
  await until(ask(newClient), "InvalidClientTokenId");
  await ask(oldClient)();
});
