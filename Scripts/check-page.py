#!/usr/bin/env python3
"""Checks pages that `bayesify` wrote as their readers meet them: accessibility by axe-core in headless Chromium at 1280 and 400
pixels, light and dark; nothing that would make a request; and a screenshot of each, and a PDF, to look at.

    python Scripts/check-page.py report.html [more.html …] --out FOLDER [--chromium chromium]

Folds are opened before, so that all of the page is checked.  Contrast is checked with the shadows of wide tables left out:
axe-core gives no verdict on text before gradients.  The command fails where axe-core finds a violation, and where a page
names an address other than those of XML namespaces.  Needs Chromium, and `pip install axe-core-python` for axe-core itself.
"""
import argparse
import html
import importlib.util
import json
import os
import re
import subprocess
import sys

VIEWS = {
    "1280-light": ["--window-size=1280,1800"],
    "1280-dark": ["--window-size=1280,1800", "--blink-settings=preferredColorScheme=0"],
    "400-light": ["--window-size=500,1800", "--force-device-scale-factor=1"],
    "400-dark": ["--window-size=500,1800", "--blink-settings=preferredColorScheme=0"],
}
# Headless windows are 500 pixels wide at least; a frame of 400 is what a telephone shows.
FRAME = '<!DOCTYPE html><html><body style="margin:0"><iframe src="{}" style="width:400px;height:{}px;border:0"></iframe>'
CHECK = """<script>
axe.run(document).then(result => {
  const list = entries => entries.map(entry => ({
    id: entry.id, impact: entry.impact, help: entry.help, count: entry.nodes.length, first: entry.nodes[0].html.slice(0, 160)}));
  const element = document.createElement('pre');
  element.id = 'verdict';
  element.textContent = JSON.stringify({
    version: axe.version, passes: result.passes.length, violations: list(result.violations),
    incomplete: list(result.incomplete)});
  document.body.appendChild(element);
});
</script>"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--chromium", default="chromium")
    arguments = parser.parse_args()
    package = importlib.util.find_spec("axe_core_python")
    if package is None:
        sys.exit("axe-core is not there; pip install axe-core-python.")
    with open(os.path.join(os.path.dirname(package.origin), "axe.min.js"), encoding="utf-8") as file:
        axe = file.read().replace("</script>", r"<\/script>")
    os.makedirs(arguments.out, exist_ok=True)
    hasFailed = False
    for page in arguments.pages:
        stem = os.path.splitext(os.path.basename(page))[0]
        with open(page, encoding="utf-8") as file:
            source = file.read()
        addresses = {address for address in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<)]*", source)
                     if not address.startswith("http://www.w3.org/")}
        # An address that is only spelt out makes no request; one in an attribute or a style does.
        requests = [address for address in addresses
                    if re.search(r"(src|href|srcset|action|data)\s*=\s*[\"']?" + re.escape(address), source)
                    or re.search(r"(url\(|@import)\s*[\"']?" + re.escape(address), source)]
        print(f"{page}: {len(source) / 1e3:.0f} kB, requests: {', '.join(requests) or 'none'}")
        hasFailed |= bool(requests)
        opened = re.sub(r"<details(?![^>]*\bopen\b)", "<details open", source)
        opened = re.sub(r"background:\s*(linear-gradient\([^;]*)+;", "", opened)
        checked = os.path.join(arguments.out, f"{stem}-checked.html")
        with open(checked, "w", encoding="utf-8") as file:
            file.write(opened.replace("</body>", f"<script>{axe}</script>{CHECK}</body>"))
        for view, options in VIEWS.items():
            verdict = measured(arguments.chromium, options, checked)
            print(f"  {view}: axe-core {verdict['version']}, {verdict['passes']} rules pass, "
                  f"{len(verdict['violations'])} violations, {len(verdict['incomplete'])} without verdict")
            for kind in ("violations", "incomplete"):
                for entry in verdict[kind]:
                    print(f"    {kind}: {entry['id']} ({entry['impact']}), {entry['count']}: {entry['help']}: {entry['first']}")
            hasFailed |= bool(verdict["violations"])
            target = checked if view.startswith("1280") else os.path.join(arguments.out, f"{stem}-frame.html")
            if target != checked:
                with open(target, "w", encoding="utf-8") as file:
                    file.write(FRAME.format(os.path.basename(page), 5000))
                if os.path.abspath(os.path.dirname(page)) != os.path.abspath(arguments.out):
                    with open(os.path.join(arguments.out, os.path.basename(page)), "w", encoding="utf-8") as file:
                        file.write(source)
            else:
                target = page
            tall = [option.replace("1800", "5000") for option in options]
            run(arguments.chromium, tall + [f"--screenshot={os.path.join(arguments.out, f'{stem}-{view}.png')}"], target)
        run(arguments.chromium, [f"--print-to-pdf={os.path.join(arguments.out, f'{stem}.pdf')}"], page)
    sys.exit(1 if hasFailed else 0)


def run(chromium, options, page):
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options,
               "file://" + os.path.abspath(page)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if result.returncode != 0:
        sys.exit(f"Chromium failed: {result.stderr[-500:]}")
    return result.stdout


def measured(chromium, options, page):
    text = run(chromium, options + ["--virtual-time-budget=60000", "--dump-dom"], page)
    found = re.search(r'<pre id="verdict">(.*?)</pre>', text, re.S)
    if not found:
        sys.exit("axe-core gave no verdict.")
    return json.loads(html.unescape(found.group(1)))


if __name__ == "__main__":
    main()
