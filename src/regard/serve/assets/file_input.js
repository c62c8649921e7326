// A picture or a sound: dropped, pasted, chosen, or recorded.

import { button, element } from "./dom.js";
import { Recorder } from "./recorder.js";

const ACCEPT = { pictures: "image/*", sounds: "audio/*,.flac,.wav,.ogg,.mp3" };

export class FileInput {
  constructor(model) {
    this.reads = model.reads;
    this.value = null;
    this.chooser = element("input", { type: "file", accept: ACCEPT[model.reads], className: "hidden", tabIndex: -1,
      attributes: { "aria-label": `file of a ${model.reads === "pictures" ? "picture" : "sound"}` } });
    this.chooser.addEventListener("change", () => this.take(this.chooser.files[0]));
    this.zone = button("", () => this.chooser.click(), "drop");
    this.preview = element("div", { className: "preview" });
    this.zone.append(`Drop a ${this.noun} here, or choose a file`);
    for (const kind of ["dragover", "dragleave", "drop"]) {
      this.zone.addEventListener(kind, (event) => {
        event.preventDefault();
        this.zone.classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.take(event.dataTransfer.files[0]);
      });
    }
    addEventListener("paste", (event) => {
      if (this.root.isConnected && event.clipboardData.files.length) this.take(event.clipboardData.files[0]);
    });
    this.recorder = model.reads === "sounds" ? new Recorder((file) => this.take(file)) : null;
    this.root = element("div", {}, this.zone, this.chooser, ...(this.recorder ? [this.recorder.root] : []), this.preview);
  }

  get noun() {
    return this.reads === "pictures" ? "picture" : "sound";
  }

  take(file) {
    if (!file) return;
    this.value = file;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    this.media = this.reads === "pictures"
      ? element("img", { src: this.url, alt: `the picture ${file.name}` })
      : element("audio", { src: this.url, controls: true, attributes: { "aria-label": `the sound ${file.name}` } });
    this.preview.replaceChildren(this.media, element("p", { className: "muted small", textContent: `${file.name} · ${size(file.size)}` }));
  }

  // Sounds begin to play where a word begins.
  play(seconds) {
    if (!this.media?.play) return;
    this.media.currentTime = seconds;
    this.media.play();
  }

  ask() {
    this.zone.focus();
  }
}

function size(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
