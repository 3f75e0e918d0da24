// Builds dist/: the files of assets/ with the hash of their content in their names, the pages that use them, and a copy
// of public/. `--bad` (npm run build -- --bad) builds the bad release: see README.md.

import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";

const root = import.meta.dirname;
const option = process.argv.find((argument) => argument.startsWith("--out="));
const out = option ? option.slice("--out=".length) : join(root, "dist");
const bad = process.argv.includes("--bad");

await rm(out, { recursive: true, force: true });
await cp(join(root, "public"), out, { recursive: true });
await mkdir(join(out, "assets"), { recursive: true });
const built = await buildAssets();
await buildPages(built);
console.log(`built the ${bad ? "bad" : "good"} release: ${Object.keys(built).length} assets, in ${out}`);

// Returns name in assets/ → URL. Assets used by other assets are built first, so scripts come last.
async function buildAssets() {
  const urls = {};
  const names = (await readdir(join(root, "assets"))).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  for (const name of names) {
    let content = await readFile(join(root, "assets", name));
    if ([".js", ".css"].includes(extname(name))) {
      content = Buffer.from(withUrls(content.toString(), urls));
    }
    if (bad && name === "app.js") {
      content = Buffer.from(`fortunet.start();\n${content}`);
    }
    const hash = createHash("sha256").update(content).digest("hex").slice(0, 8);
    const file = `${basename(name, extname(name))}.${hash}${extname(name)}`;
    urls[name] = `/assets/${file}`;
    // The bad release misses one file that its pages use.
    if (!(bad && name === "login.js")) {
      await writeFile(join(out, "assets", file), content);
    }
  }
  return urls;
}

function rank(name) {
  return [".svg", ".css", ".js"].indexOf(extname(name));
}

async function buildPages(urls) {
  const layout = await readFile(join(root, "pages", "layout.html"), "utf8");
  for (const name of await readdir(join(root, "pages"))) {
    if (name !== "layout.html") {
      const page = await readFile(join(root, "pages", name), "utf8");
      await writeFile(join(out, name), withUrls(layout.replace("{{page}}", () => page), urls));
    }
  }
}

// {{app.js}} → /assets/app.1234abcd.js
function withUrls(text, urls) {
  return text.replace(/\{\{([\w.-]+)\}\}/g, (_, name) => {
    if (!(name in urls)) {
      throw new Error(`no asset ${name}`);
    }
    return urls[name];
  });
}
