// What is known, as the stream has told it. Times are hotpipe's own clock, in seconds; `now` is that clock.

export class Picture {
  constructor() {
    this.clear();
  }

  clear() {
    this.pieces = new Map();
    this.told_at = performance.now();
    this.told = 0;
  }

  apply(message) {
    this.told = message.now;
    this.told_at = performance.now();
    for (const [name, piece] of Object.entries(message.set)) this.pieces.set(name, piece);
  }

  now() {
    return this.told + (performance.now() - this.told_at) / 1000;
  }

  get head() {
    return this.pieces.get("head");
  }

  get stages() {
    return this.head.stages.map((name) => this.pieces.get(`stage:${name}`)).filter(Boolean);
  }

  get servers() {
    return this.head.servers.map((name) => this.pieces.get(`server:${name}`)).filter(Boolean);
  }
}

export const isRunning = (stage) => stage.began !== null && stage.status === null;
