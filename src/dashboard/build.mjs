// Bundles the dashboard into one script and one style, names them by their hashes, compresses them, holds the
// budget, and writes the C++ source that embeds them. Called by the build: node build.mjs BUILD_DIR, with
// node_modules in there.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const FIRST_LOAD_BYTES = 60 * 1024; // of document, script and style together, compressed

const source = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? '');
const esbuild = createRequire(join(out, 'package.json'))('esbuild');

const types = { js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' };
const hash_of = content => createHash('sha256').update(content).digest('hex').slice(0, 16);

const bundled = await esbuild.build({
  entryPoints: [join(source, 'main.tsx'), join(source, 'app.css')],
  bundle: true,
  minify: true,
  write: false,
  outdir: out,
  format: 'esm',
  target: ['es2020'],
  charset: 'utf8',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  nodePaths: [join(out, 'node_modules')],
  logLevel: 'warning',
});

const files = [];
const add = (path, content_type, body) => {
  files.push({ path, content_type, body, hash: hash_of(body), gzip: gzipSync(body, { level: 9 }) });
  return path;
};
const asset = (name, ext, body) => add(`/assets/${name}-${hash_of(body)}.${ext}`, types[ext], body);
const bundle = ext => Buffer.from(bundled.outputFiles.find(f => f.path.endsWith(`.${ext}`)).contents);

const script = asset('main', 'js', bundle('js'));
const style = asset('app', 'css', bundle('css'));
const icon = asset('icon', 'svg', readFileSync(join(source, 'icon.svg')));
const html = readFileSync(join(source, 'index.html'), 'utf8')
  .replace('{script}', script)
  .replace('{style}', style)
  .replace('{icon}', icon);
add('/', 'text/html; charset=utf-8', Buffer.from(html));

const first_load = files.reduce((sum, f) => sum + f.gzip.length, 0);
if (first_load > FIRST_LOAD_BYTES) {
  console.error(`dashboard: the first load is ${first_load} bytes compressed, more than ${FIRST_LOAD_BYTES}`);
  process.exit(1);
}

rmSync(join(out, 'files'), { recursive: true, force: true });
mkdirSync(join(out, 'files'), { recursive: true });
const quoted = text => JSON.stringify(text);
let assembly = '';
let rows = '';
let symbols = '';
files.forEach((file, i) => {
  for (const [kind, content] of [
    ['body', file.body],
    ['gzip', file.gzip],
  ]) {
    const path = join(out, 'files', `${i}.${kind}`);
    writeFileSync(path, content);
    const symbol = `orchestrator_dashboard_${i}_${kind}`;
    assembly +=
      `asm(".section .rodata\\n.global ${symbol}\\n${symbol}:\\n.incbin ${quoted(path).replaceAll('"', '\\"')}` +
      `\\n.byte 0\\n.text\\n");\n`;
    symbols += `extern const char ${symbol}[];\n`;
  }
  const view = kind => `{orchestrator_dashboard_${i}_${kind}, ${file[kind].length}}`;
  const texts = [file.path, file.content_type, file.hash].map(quoted).join(', ');
  rows += `    {${texts}, ${view('body')}, ${view('gzip')}},\n`;
});
const pages = JSON.parse(readFileSync(join(source, 'pages.json'), 'utf8'));
writeFileSync(
  join(out, 'dashboard_files.cpp'),
  `// Written by src/dashboard/build.mjs.
#include "dashboard.hpp"

${assembly}
extern "C" {
${symbols}}

namespace orchestrator::server {

std::span<const dashboard_file> dashboard_files() {
  static const dashboard_file files[] = {
${rows}  };
  return files;
}

std::span<const std::string_view> dashboard_pages() {
  static constexpr std::string_view pages[] = {${pages.map(quoted).join(', ')}};
  return pages;
}

}  // namespace orchestrator::server
`,
);
console.log(
  `dashboard: first load ${first_load} bytes compressed of ${FIRST_LOAD_BYTES}: ` +
    files.map(f => `${f.path.replace(/-[0-9a-f]{16}/, '')} ${f.gzip.length}`).join(', '),
);
