// A sound from the microphone, as a WAV file: what browsers record by themselves is no format that the service reads.

import { button, element } from "./dom.js";

export class Recorder {
  constructor(done) {
    this.done = done;
    this.toggle = button("Record", () => (this.context ? this.end() : this.begin()), "record");
    this.level = element("meter", { min: 0, max: 1, value: 0, attributes: { "aria-label": "loudness" } });
    this.level.hidden = true;
    this.note = element("span", { className: "muted small", attributes: { role: "status" } });
    this.root = element("div", { className: "row" }, this.toggle, this.level, this.note);
    if (!navigator.mediaDevices) {
      this.toggle.disabled = true;
      this.note.textContent = "A browser records on https or on localhost alone.";
    }
  }

  async begin() {
    this.note.textContent = "";
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      this.note.textContent = `The microphone is not given (${error.name}).`;
      return;
    }
    this.pieces = [];
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/assets/capture.js");
    const source = this.context.createMediaStreamSource(this.stream);
    const capture = new AudioWorkletNode(this.context, "capture");
    capture.port.onmessage = ({ data }) => this.hear(data);
    source.connect(capture);
    this.level.hidden = false;
    this.toggle.textContent = "Stop recording";
  }

  hear(samples) {
    if (!this.context) return; // it was ended while this was on its way
    this.pieces.push(samples);
    this.level.value = Math.min(1, 3 * Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length));
    const seconds = this.pieces.reduce((sum, { length }) => sum + length, 0) / this.context.sampleRate;
    this.note.textContent = `${seconds.toFixed(0)} s`;
  }

  async end() {
    const rate = this.context.sampleRate;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
    this.context = null;
    this.level.hidden = true;
    this.toggle.textContent = "Record";
    this.note.textContent = "";
    this.done(new File([wav(this.pieces, rate)], "recording.wav", { type: "audio/wav" }));
  }
}

// 16 bits, one channel.
export function wav(pieces, rate) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const write = (at, text) => [...text].forEach((letter, place) => view.setUint8(at + place, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const piece of pieces) {
    for (const value of piece) {
      view.setInt16(at, 32767 * Math.max(-1, Math.min(1, value)), true);
      at += 2;
    }
  }
  return view.buffer;
}
