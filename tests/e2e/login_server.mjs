// SPDX-License-Identifier: Apache-2.0
// An OAuth 2.0 server that others wrote (oidc-provider), with the paths of Microsoft Entra ID, and a
// record store behind it that takes nobody without a token of that server:
//   node login_server.mjs NODE_MODULES SETTINGS
// SETTINGS is a JSON file: port and storePort to listen on at 127.0.0.1, hub ("127.0.0.1:PORT") and
// hubToken for what passes, secret of one application and jwk (public) of the other.
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [, , modules, file] = process.argv;
const settings = JSON.parse(readFileSync(file));
const { Provider } = await import(pathToFileURL(path.join(modules, "oidc-provider/lib/index.js")));

const tenant = "/example.org/oauth2/v2.0";
const store = `http://127.0.0.1:${settings.storePort}`;
const scope = `${store}/.default`;
const application = { response_types: [], redirect_uris: [], scope };
const provider = new Provider(`http://127.0.0.1:${settings.port}`, {
    clients: [
        { ...application, client_id: "by-secret", client_secret: settings.secret,
          grant_types: ["client_credentials"], token_endpoint_auth_method: "client_secret_post" },
        { ...application, client_id: "by-certificate", jwks: { keys: [settings.jwk] },
          grant_types: ["client_credentials"], token_endpoint_auth_method: "private_key_jwt",
          token_endpoint_auth_signing_alg: "PS256" },
        { ...application, client_id: "by-person", application_type: "native",
          grant_types: ["urn:ietf:params:oauth:grant-type:device_code"],
          token_endpoint_auth_method: "none", scope: `openid ${scope}` },
    ],
    scopes: ["openid", scope],
    features: {
        clientCredentials: { enabled: true },
        deviceFlow: { enabled: true },
        devInteractions: { enabled: false },
    },
    clientAuthMethods: ["client_secret_post", "private_key_jwt", "none"],
    enabledJWA: { clientAuthSigningAlgValues: ["PS256"] },
    routes: { token: `${tenant}/token`, device_authorization: `${tenant}/devicecode` },
    ttl: { ClientCredentials: 600, AccessToken: 600, DeviceCode: 120 },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

// What the person does in his browser: types the code, and agrees or declines.
async function person(url) {
    const code = await provider.DeviceCode.findByUserCode(
        url.searchParams.get("code").replace(/[^A-Za-z0-9]/g, ""), { ignoreExpiration: true });
    if (url.searchParams.get("answer") === "no") {
        code.error = "access_denied";
        code.errorDescription = "the person declined";
    } else {
        const grant = new provider.Grant({ accountId: "ann", clientId: code.clientId });
        grant.addOIDCScope(`openid ${scope}`);
        code.accountId = "ann";
        code.scope = `openid ${scope}`;
        code.grantId = await grant.save();
    }
    await code.save();
}

const answers = provider.callback();
let away = 0; // logins that get no answer
let refusals = 0; // of the store, whatever the token
http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/away") {
        away = Number(url.searchParams.get("count"));
        response.end("gone");
    } else if (url.pathname === "/refuse") {
        refusals = Number(url.searchParams.get("count"));
        response.end("will do");
    } else if (url.pathname === `${tenant}/token` && away > 0) {
        away--;
        request.destroy();
    } else if (url.pathname === "/person")
        await person(url).then(() => response.end("done"), (why) => response.writeHead(500).end(String(why)));
    else if (url.pathname === "/health")
        response.end("well");
    else
        answers(request, response);
}).listen(settings.port, "127.0.0.1");

async function accepted(request) {
    const [, token] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? "") ?? [];
    if (token === undefined)
        return false;
    const found = (await provider.ClientCredentials.find(token)) ?? (await provider.AccessToken.find(token));
    return found !== undefined && !found.isExpired && (found.scope ?? "").split(" ").includes(scope);
}

http.createServer(async (request, response) => {
    const refused = refusals > 0 && request.method === "POST" && refusals-- > 0;
    if (refused || !(await accepted(request))) {
        response.writeHead(401, { "Content-Type": "application/json", "request-id": "of-the-store" });
        response.end(JSON.stringify({ error: { code: "InvalidAuthenticationToken", message: "no token of ours" } }));
        return;
    }
    const [host, port] = settings.hub.split(":");
    const headers = { ...request.headers, authorization: `Bearer ${settings.hubToken}` };
    const passed = http.request({ host, port, path: request.url, method: request.method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    passed.on("error", () => response.writeHead(502).end());
    request.pipe(passed);
}).listen(settings.storePort, "127.0.0.1");
