// In the thread of sound: hands on what the microphone gives, about ten times a second.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.kept = new Float32Array(4096);
    this.count = 0;
  }

  process([[samples]]) {
    if (!samples) return true;
    this.kept.set(samples, this.count);
    this.count += samples.length;
    if (this.count + samples.length > this.kept.length) {
      this.port.postMessage(this.kept.slice(0, this.count));
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);
