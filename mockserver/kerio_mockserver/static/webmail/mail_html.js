// A mail's HTML for a frame without scripts and without anything from elsewhere.
//
// Three fences stand one behind the other: the elements and attributes that could act or load are removed here; the
// frame's `sandbox` forbids scripts, forms and the page's origin; its own Content-Security-Policy, beside the page's,
// allows inline styles and images that are part of the mail, and nothing else.

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
export const SANDBOX = "allow-popups allow-popups-to-escape-sandbox";
const REMOVED = "script, noscript, iframe, frame, frameset, object, embed, applet, base, meta, link, template, audio, video, portal";
const STYLE = "html { color-scheme: light; background: #fff; color: #1b2230; font: 15px/1.5 system-ui, 'DejaVu Sans', sans-serif; }"
  + " body { margin: 0; padding: 16px; overflow-wrap: anywhere; } img { max-width: 100%; height: auto; } table { max-width: 100%; } img:not([src]) { visibility: hidden; }";

/** The content ids of inline images that the HTML shows. */
export function contentIds(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  return [...parsed.querySelectorAll("img[src]")].map((image) => idOf(image.getAttribute("src"))).filter(Boolean);
}

function idOf(source) {
  const found = /^cid:(.+)$/i.exec(source.trim());
  if (!found) return "";
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1];
  }
}

/** The document for the frame, and how many images from elsewhere it leaves out. `images` are data addresses by content id. */
export function mailDocument(html, images = new Map()) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  let blocked = 0;
  const styles = [...parsed.head.querySelectorAll("style")];
  for (const element of parsed.querySelectorAll(REMOVED)) element.remove();
  for (const element of parsed.querySelectorAll("*")) {
    for (const { name } of [...element.attributes]) {
      if (/^on|^(srcset|background|formaction|action|ping|poster)$|:href$/i.test(name)) element.removeAttribute(name);
    }
  }
  for (const image of parsed.querySelectorAll("img, image, input[src]")) {
    const source = image.getAttribute("src") ?? "";
    const inline = images.get(idOf(source));
    if (inline) image.setAttribute("src", inline);
    else if (!/^data:image\//i.test(source)) {
      if (source && !idOf(source)) blocked += 1;
      image.removeAttribute("src");
      if (image.getAttribute("alt")?.trim()) image.replaceWith(image.getAttribute("alt"));
    }
  }
  for (const link of parsed.querySelectorAll("[href]")) {
    if (/^(https?:|mailto:)/i.test(link.getAttribute("href").trim())) {
      link.setAttribute("target", "_blank");
      link.setAttribute("rel", "noopener noreferrer");
    } else {
      link.removeAttribute("href");
    }
  }
  const head = `<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${POLICY}"><meta name="referrer" content="no-referrer">`;
  const own = styles.map((style) => `<style>${style.textContent.replace(/<\//g, "")}</style>`).join("");
  return { text: `<!DOCTYPE html><html><head>${head}<style>${STYLE}</style>${own}</head>${parsed.body.outerHTML}</html>`, blocked };
}
