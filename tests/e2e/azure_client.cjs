// SPDX-License-Identifier: Apache-2.0
// The real client of Azure Storage Queue, @azure/storage-queue, for the tests:
//
//   node azure_client.cjs NODE_MODULES COMMAND [ARGUMENT...]
//
// The connection string, which is a secret, comes on descriptor 0 before everything else: its first
// line. What follows is the body of a message to send.
const path = require("node:path");
const fs = require("node:fs");
const [, , modules, command, ...rest] = process.argv;
const sdk = require(path.join(modules, "@azure/storage-queue"));
const input = fs.readFileSync(0, "utf8");
const end = input.indexOf("\n");
const connection = input.slice(0, end);
const body = input.slice(end + 1);
const service = sdk.QueueServiceClient.fromConnectionString(connection);
const queue = rest.length > 0 ? service.getQueueClient(rest[0]) : undefined;

// What may be done with queues and messages, for an hour.
function sas(permissions) {
    return service.generateAccountSasUrl(new Date(Date.now() + 3600_000),
        sdk.AccountSASPermissions.parse(permissions), "co").split("?")[1];
}

const commands = {
    async create() { await queue.createIfNotExists(); },
    async send() { return { id: (await queue.sendMessage(body)).messageId }; },
    async count() { return (await queue.getProperties()).approximateMessagesCount; },
    async receive() {
        const found = [];
        for (const item of (await queue.receiveMessages({ numberOfMessages: 32 })).receivedMessageItems) {
            found.push({ text: item.messageText, count: item.dequeueCount });
            await queue.deleteMessage(item.messageId, item.popReceipt);
        }
        return found;
    },
    async peek() {
        return (await queue.peekMessages({ numberOfMessages: 32 })).peekedMessageItems
            .map((item) => ({ text: item.messageText, count: item.dequeueCount }));
    },
    async sas() { return sas(rest[1]); },
};

commands[command]().then(
    (answer) => console.log(JSON.stringify(answer ?? null)),
    (error) => { console.error(`${command}: ${error.message}`); process.exit(1); });
