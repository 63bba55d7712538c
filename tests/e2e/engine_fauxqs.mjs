// SPDX-License-Identifier: Apache-2.0
// Runs fauxqs on loopback: node engine_fauxqs.mjs NODE_MODULES PORT FOLDER
// Its own start binds to every address; here whoever listens does so on 127.0.0.1 alone.
import net from "node:net";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , modules, port, dataDir] = process.argv;
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
    return listen.call(this, { ...options, host: "127.0.0.1" }, ...rest);
};
const { startFauxqs } = await import(pathToFileURL(path.join(modules, "fauxqs/dist/app.js")));
const server = await startFauxqs({ port: Number(port), logger: false, dataDir });
console.log(`listening on ${server.port}`);
