// The moving lights behind the show: a stand-in for video, drawn on a canvas. It rests when
// the page is hidden or nothing is on, and for people who ask for less motion.

const LIGHTS = 16;
const FRAME_MS = 1000 / 24;
const COARSE = 6; // the lights are drawn so many times smaller and blown up: they are blurs anyway
const MOST_PARTICLES = 120;
const HEART = "M0 -3C-4 -9 -12 -5 -8 2L0 9L8 2C12 -5 4 -9 0 -3Z";

/** Lights, a spotlight, rising hearts while the show is live, and confetti for an order. */
export class Scenery {
  #canvas; #context; #random; #still;
  #coarse = document.createElement("canvas").getContext("2d");
  #heart = new Path2D(HEART);
  #lights = [];
  #particles = [];
  #hue = 255;
  #live = false;
  #last = 0;

  constructor(canvas, random = Math.random) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#random = random;
    this.#still = matchMedia("(prefers-reduced-motion: reduce)");
    for (let i = 0; i < LIGHTS; i++) this.#lights.push(this.#light());
    new ResizeObserver(() => this.#resize()).observe(canvas);
    requestAnimationFrame((time) => this.#frame(time));
  }

  /** The colour of the lights, in degrees. */
  set hue(degrees) {
    this.#hue = degrees;
    if (this.#rests()) this.#draw(this.#last / 1000);
  }

  /** Only a live show moves. */
  set live(live) {
    this.#live = live;
  }

  /** Confetti, once. */
  celebrate() {
    if (this.#still.matches) return;
    for (let i = 0; i < 70; i++) this.#particles.push(this.#confetti());
    this.#particles.splice(0, this.#particles.length - MOST_PARTICLES);
  }

  #light() {
    const random = this.#random;
    return {
      x: random(), y: random(), size: 0.12 + 0.3 * random(), turn: 360 * random(),
      speed: 0.04 + 0.1 * random(), shift: 70 * random() - 35, alpha: 0.1 + 0.16 * random(),
    };
  }

  #confetti() {
    const random = this.#random;
    return {
      kind: "paper", x: 0.5 + 0.2 * (random() - 0.5), y: 0.62, vx: 0.7 * (random() - 0.5),
      vy: -0.5 - 0.6 * random(), turn: 6 * random(), age: 0, life: 2.6, hue: 360 * random(),
    };
  }

  #resize() {
    this.#canvas.width = this.#canvas.clientWidth;
    this.#canvas.height = this.#canvas.clientHeight;
    this.#coarse.canvas.width = Math.ceil(this.#canvas.width / COARSE);
    this.#coarse.canvas.height = Math.ceil(this.#canvas.height / COARSE);
    this.#draw(this.#last / 1000);
  }

  #frame(time) {
    requestAnimationFrame((next) => this.#frame(next));
    if (time - this.#last < FRAME_MS || this.#rests()) return;
    const passed = Math.min(0.1, (time - this.#last) / 1000);
    this.#last = time;
    this.#move(passed);
    this.#draw(time / 1000);
  }

  #rests() {
    return this.#still.matches || (!this.#live && !this.#particles.length);
  }

  #move(passed) {
    if (this.#live && this.#random() < passed * 0.9) {
      this.#particles.push({
        kind: "heart", x: 0.86 + 0.08 * this.#random(), y: 0.98, vx: 0, vy: -0.16 - 0.06 * this.#random(),
        turn: 6 * this.#random(), age: 0, life: 4.5, hue: 330 + 40 * this.#random(),
      });
    }
    for (const particle of this.#particles) {
      particle.age += passed;
      if (particle.kind === "paper") particle.vy += 0.9 * passed;
      particle.x += particle.vx * passed;
      particle.y += particle.vy * passed;
    }
    this.#particles = this.#particles.filter(({ age, life }) => age < life);
  }

  #draw(seconds) {
    const { width, height } = this.#canvas;
    if (!width || !height) return;
    this.#drawLights(seconds);
    this.#context.clearRect(0, 0, width, height);
    this.#context.drawImage(this.#coarse.canvas, 0, 0, width, height);
    for (const particle of this.#particles) this.#drawParticle(particle, seconds, width, height);
  }

  #drawLights(seconds) {
    const { width, height } = this.#coarse.canvas;
    this.#coarse.clearRect(0, 0, width, height);
    this.#coarse.globalCompositeOperation = "screen";
    for (const light of this.#lights) this.#drawLight(light, seconds, width, height);
    this.#drawBeam(seconds, width, height);
  }

  /** A spotlight from above that swings slowly and fades towards the floor. */
  #drawBeam(seconds, width, height) {
    const context = this.#coarse;
    const down = Math.PI / 2 + 0.2 * Math.sin(seconds / 2.5);
    const beam = context.createConicGradient(down - 0.45, width / 2, -0.05 * height);
    beam.addColorStop(0, "transparent");
    beam.addColorStop(0.45 / (2 * Math.PI), "rgb(255 255 255 / 26%)");
    beam.addColorStop(0.9 / (2 * Math.PI), "transparent");
    context.fillStyle = beam;
    for (let band = 0; band < 8; band++) {
      context.globalAlpha = 1 - band / 8;
      context.fillRect(0, (band * height) / 9, width, height / 9);
    }
    context.globalAlpha = 1;
  }

  #drawLight(light, seconds, width, height) {
    const angle = light.turn + seconds * light.speed * 2;
    const x = (light.x + 0.08 * Math.sin(angle)) * width;
    const y = (light.y + 0.06 * Math.cos(angle * 0.8)) * height;
    const radius = light.size * Math.max(width, height) * 0.6;
    const gradient = this.#coarse.createRadialGradient(x, y, 0, x, y, radius);
    const alpha = light.alpha * (0.8 + 0.2 * Math.sin(angle * 1.7));
    const colour = `${this.#hue + light.shift} 75% 62%`;
    gradient.addColorStop(0, `hsl(${colour} / ${alpha})`);
    gradient.addColorStop(1, `hsl(${colour} / 0)`);
    this.#coarse.fillStyle = gradient;
    this.#coarse.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
  }

  #drawParticle({ kind, x, y, turn, age, life, hue }, seconds, width, height) {
    const context = this.#context;
    context.save();
    context.globalAlpha = Math.min(1, (life - age) * 1.2) * 0.9;
    context.fillStyle = `hsl(${hue} 85% 66%)`;
    if (kind === "heart") {
      context.translate(x * width + 10 * Math.sin(turn + age * 2), y * height);
      context.fill(this.#heart);
    } else {
      context.translate(x * width, y * height);
      context.rotate(turn + seconds * 3);
      context.fillRect(-4, -2.5, 8, 5);
    }
    context.restore();
  }
}
