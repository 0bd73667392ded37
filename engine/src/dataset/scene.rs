//! [`Patch`]: 50 × 50 m of an invented landscape, as an airborne laser scanner and an orthophoto see it.
//!
//! Only additions, multiplications, divisions and hashes: the same seed gives the same points on every machine.
//! What makes the classes hard to tell apart is what makes them hard in life: a point below a crown has the crown's
//! colour, roofs and roads share materials, low plants look like the ground, and light and sensor differ by region.

use super::listing::mix;

/// Side of a patch, metres.
pub(super) const SIDE: f64 = 50.0;
/// Cells along a side: 0.5 m each.
const CELLS: usize = 100;

/// One laser return.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// Metres, Lambert-93; rounded to centimetres.
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) z: f64,
    pub(super) intensity: u16,
    pub(super) return_number: u8,
    pub(super) returns: u8,
    /// ASPRS code.
    pub(super) class: u8,
    pub(super) flight_line: u16,
    pub(super) red: u16,
    pub(super) green: u16,
    pub(super) blue: u16,
    pub(super) infrared: u16,
}

/// ASPRS codes of the nine classes that FRACTAL keeps.
const UNCLASSIFIED: u8 = 1;
const GROUND: u8 = 2;
const LOW_VEGETATION: u8 = 3;
const MEDIUM_VEGETATION: u8 = 4;
const HIGH_VEGETATION: u8 = 5;
const BUILDING: u8 = 6;
const WATER: u8 = 9;
const BRIDGE: u8 = 17;
const STRUCTURE: u8 = 64;

/// Red, green, blue, infrared (of 255) and return intensity of a surface.
#[derive(Clone, Copy, Debug)]
struct Material([f32; 4], f32);

const GRASS: Material = Material([104.0, 118.0, 82.0, 158.0], 1250.0);
const MEADOW: Material = Material([132.0, 128.0, 92.0, 150.0], 1150.0);
const SOIL: Material = Material([146.0, 128.0, 104.0, 140.0], 980.0);
const ASPHALT: Material = Material([118.0, 117.0, 116.0, 106.0], 620.0);
const BROADLEAF: Material = Material([74.0, 92.0, 64.0, 150.0], 560.0);
const CONIFER: Material = Material([56.0, 74.0, 56.0, 112.0], 430.0);
const SHRUB: Material = Material([92.0, 106.0, 74.0, 148.0], 760.0);
const TILE: Material = Material([160.0, 118.0, 98.0, 128.0], 900.0);
const SLATE: Material = Material([108.0, 110.0, 114.0, 100.0], 520.0);
const CONCRETE: Material = Material([150.0, 148.0, 142.0, 126.0], 840.0);
const LAKE: Material = Material([64.0, 82.0, 82.0, 52.0], 210.0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Open,
    Thicket,
    Crown,
    Roof,
    Lake,
    Bridge,
    Mast,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    cover: Cover,
    /// Altitude of the ground (or of the water), metres.
    ground: f32,
    /// Height of the cover above it, metres.
    height: f32,
    /// What the orthophoto shows, in light and shadow.
    colour: [f32; 4],
    /// Return intensity of the ground and of the cover.
    ground_intensity: f32,
    cover_intensity: f32,
}

/// A patch, and the state of the scan over it.
#[derive(Debug)]
pub(super) struct Patch {
    cells: Vec<Cell>,
    origin: (f64, f64),
    random: Random,
    points: u64,
    next: u64,
    per_line: u64,
    intensity_gain: f32,
    flight_line: u16,
}

impl Patch {
    /// The `index`th patch of the landscape `seed`, seen by `points` returns.
    pub(super) fn new(seed: u64, index: u64, points: u64) -> Patch {
        let mut random = Random::new(mix(seed, index));
        // Where on a map of 800 × 1000 km, on the 50 m grid.
        let east = random.below(16_000) as f64 * SIDE + 400_000.0;
        let north = random.below(20_000) as f64 * SIDE + 6_100_000.0;
        let region = Region::at(seed, east, north);
        // Bridges are rare; every sixteenth patch has one, so that small sets have the class too.
        let cells = region.cells(mix(seed ^ 1, index), index % 16 == 3, &mut random);
        let per_line = (points as f64).sqrt().ceil().max(1.0) as u64;
        Patch {
            cells,
            origin: (east, north),
            points,
            next: 0,
            per_line,
            intensity_gain: region.intensity_gain,
            flight_line: 1 + random.below(60) as u16,
            random,
        }
    }

    /// South-west corner, metres.
    pub(super) fn origin(&self) -> (f64, f64) {
        self.origin
    }
}

impl Iterator for Patch {
    type Item = Point;

    /// Scan lines from south to north; a line's returns lie side by side.
    fn next(&mut self) -> Option<Point> {
        if self.next == self.points {
            return None;
        }
        let (line, step) = (self.next / self.per_line, self.next % self.per_line);
        self.next += 1;
        let random = &mut self.random;
        let spacing = SIDE / self.per_line as f64;
        let along = ((step as f64 + random.unit()) * spacing).min(SIDE - 0.01);
        let across = ((line as f64 + random.unit()) * spacing).min(SIDE - 0.01);
        let scale = CELLS as f64 / SIDE;
        let cell = self.cells[(across * scale) as usize * CELLS + (along * scale) as usize];

        let u = random.unit() as f32;
        let v = random.unit() as f32;
        let (class, above, of_cover) = hit(&cell, u, v);
        let returns = match cell.cover {
            Cover::Crown => 1 + random.below(4) as u8,
            Cover::Thicket => 1 + random.below(2) as u8,
            _ => 1,
        };
        let return_number = if of_cover { 1 } else { returns };
        // A pulse shared by several returns gives each less.
        let share = 1.0 / (0.55 + 0.45 * f32::from(returns));
        let surface = if of_cover { cell.cover_intensity } else { cell.ground_intensity };
        let intensity = surface * share * self.intensity_gain * (1.0 + 0.26 * random.normal());
        let mut colour = [0u16; 4];
        for (value, mean) in colour.iter_mut().zip(cell.colour) {
            // Orthophotos have 8 bits a channel; the point cloud stores them in the upper byte.
            *value = ((mean + 13.0 * random.normal()).clamp(0.0, 255.0) as u16) << 8;
        }
        let z = f64::from(cell.ground + above + 0.04 * random.normal());
        Some(Point {
            x: centimetres(self.origin.0 + along),
            y: centimetres(self.origin.1 + across),
            z: centimetres(z),
            intensity: intensity.clamp(1.0, 65_535.0) as u16,
            return_number,
            returns,
            class,
            flight_line: self.flight_line + (line * 3 / self.per_line) as u16,
            red: colour[0],
            green: colour[1],
            blue: colour[2],
            infrared: colour[3],
        })
    }
}

/// What a pulse into `cell` meets, by two draws from 0..1: class, height above ground, whether the cover returned it.
fn hit(cell: &Cell, u: f32, v: f32) -> (u8, f32, bool) {
    let height = cell.height;
    match cell.cover {
        Cover::Crown if u < 0.72 => {
            let above = height * (0.45 + 0.55 * v);
            (if above > 1.5 { HIGH_VEGETATION } else { MEDIUM_VEGETATION }, above, true)
        }
        Cover::Crown if u < 0.92 => (GROUND, 0.0, false),
        Cover::Crown if u < 0.965 => (MEDIUM_VEGETATION, 0.5 + v, true),
        Cover::Crown if u < 0.993 => (LOW_VEGETATION, 0.5 * v, false),
        Cover::Thicket if u < 0.42 => (GROUND, 0.0, false),
        Cover::Thicket if u < 0.66 => (LOW_VEGETATION, 0.1 + 0.4 * v, true),
        Cover::Thicket if u < 0.97 => (MEDIUM_VEGETATION, 0.5 + v * height, true),
        Cover::Roof if u < 0.95 => (BUILDING, height, true),
        Cover::Roof if u < 0.975 => (GROUND, 0.0, false),
        Cover::Lake if u < 0.95 => (WATER, 0.0, false),
        Cover::Lake if u < 0.98 => (GROUND, 0.2, false),
        Cover::Bridge if u < 0.94 => (BRIDGE, height, true),
        Cover::Mast if u < 0.5 => (STRUCTURE, height * v, true),
        Cover::Mast => (GROUND, 0.0, false),
        Cover::Open if u < 0.967 => (GROUND, 0.0, false),
        Cover::Open if u < 0.992 => (LOW_VEGETATION, 0.05 + 0.4 * v, false),
        // Cars, wires, birds, chimneys, noise.
        _ => (UNCLASSIFIED, height + 2.0 * v, true),
    }
}

fn centimetres(metres: f64) -> f64 {
    (metres * 100.0).round() / 100.0
}

/// What neighbouring patches share: the lie of the land, its use, the light and the sensor of its survey.
#[derive(Clone, Copy, Debug)]
struct Region {
    altitude: f32,
    relief: f32,
    forest: f32,
    town: f32,
    wet: f32,
    conifer: f32,
    light: f32,
    haze: f32,
    intensity_gain: f32,
}

impl Region {
    fn at(seed: u64, east: f64, north: f64) -> Region {
        let field = |salt: u64, kilometres: f64| {
            let scale = kilometres * 1000.0;
            noise(mix(seed ^ 2, salt), (east / scale) as f32, (north / scale) as f32)
        };
        let mountain = field(0, 120.0);
        Region {
            altitude: 15.0 + 900.0 * mountain * mountain * mountain,
            relief: 2.0 + 16.0 * mountain * field(1, 30.0),
            forest: 0.15 + 0.75 * field(2, 12.0),
            town: 0.75 * field(3, 9.0),
            wet: field(4, 10.0),
            conifer: mountain,
            light: 0.86 + 0.28 * field(5, 60.0),
            haze: 14.0 * field(6, 60.0),
            intensity_gain: 0.8 + 0.4 * field(7, 80.0),
        }
    }

    fn cells(&self, seed: u64, bridged: bool, random: &mut Random) -> Vec<Cell> {
        let crowns = self.crowns(random);
        let roofs = self.roofs(random);
        let road = (random.unit() < 0.3 + 0.5 * f64::from(self.town)).then(|| Strip::new(random, 3.0));
        let water_level = 0.98 - 0.28 * self.wet;
        let bridge = bridged.then(|| Strip::new(random, 3.5));
        let light = self.light * (0.93 + 0.14 * random.unit() as f32);

        let mut cells = Vec::with_capacity(CELLS * CELLS);
        for i in 0..CELLS * CELLS {
            let (x, y) = ((i % CELLS) as f32 * 0.5, (i / CELLS) as f32 * 0.5);
            let hill = noise(seed, x / 35.0, y / 35.0) + 0.3 * noise(seed ^ 9, x / 9.0, y / 9.0);
            let mut ground = self.altitude + self.relief * hill;
            let moist = noise(seed ^ 3, x / 30.0, y / 30.0);
            let plants = noise(seed ^ 4, x / 11.0, y / 11.0);
            let shade = noise(seed ^ 5, x / 6.0, y / 6.0);

            let floor = match plants {
                p if p < 0.3 => SOIL,
                p if p < 0.5 => MEADOW,
                _ => GRASS,
            };
            let mut cell = (Cover::Open, 0.0, floor, floor);
            if plants > 0.73 {
                cell = (Cover::Thicket, 0.3 + 0.9 * shade, floor, SHRUB);
            }
            if road.is_some_and(|road| road.covers(x, y)) {
                cell = (Cover::Open, 0.0, ASPHALT, ASPHALT);
            }
            if let Some(crown) = crowns.iter().find(|crown| crown.covers(x, y)) {
                cell = (Cover::Crown, crown.height, floor, if crown.conifer { CONIFER } else { BROADLEAF });
            }
            if let Some(roof) = roofs.iter().find(|roof| roof.covers(x, y)) {
                cell = (Cover::Roof, roof.height_at(x), SOIL, roof.material);
            }
            if moist > water_level {
                cell = (Cover::Lake, 0.0, LAKE, LAKE);
                ground = self.altitude + self.relief * 0.3;
            }
            if bridge.is_some_and(|bridge| bridge.covers(x, y)) {
                cell = (Cover::Bridge, 5.5, ASPHALT, if shade > 0.5 { ASPHALT } else { CONCRETE });
            }
            if mix(seed ^ 6, i as u64).is_multiple_of(3000) {
                cell = (Cover::Mast, 14.0, CONCRETE, CONCRETE);
            }
            let (cover, height, floor, top) = cell;
            // Crowns and roofs throw shadows; open land is mostly lit.
            let dark = match cover {
                Cover::Crown => 0.45,
                Cover::Roof | Cover::Bridge => 0.2,
                _ => 0.28,
            };
            let shadow = if shade < dark { 0.62 + 0.38 * shade / dark } else { 1.0 };
            let mottle = 0.88 + 0.24 * noise(seed ^ 7, x / 3.0, y / 3.0);
            let colour = top.0.map(|mean| mean * light * shadow * mottle + self.haze);
            cells.push(Cell { cover, ground, height, colour, ground_intensity: floor.1, cover_intensity: top.1 });
        }
        cells
    }

    fn crowns(&self, random: &mut Random) -> Vec<Crown> {
        let wanted = (self.forest * 150.0) as u64;
        let crown = |random: &mut Random| Crown {
            x: random.unit() as f32 * 54.0 - 2.0,
            y: random.unit() as f32 * 54.0 - 2.0,
            radius: 1.5 + 2.8 * random.unit() as f32,
            height: 3.0 + 20.0 * random.unit() as f32 * (0.4 + 0.6 * self.forest),
            conifer: random.unit() < f64::from(self.conifer),
        };
        (0..wanted).map(|_| crown(random)).collect()
    }

    fn roofs(&self, random: &mut Random) -> Vec<Roof> {
        let mut roofs = Vec::new();
        // Lots of 16 m; the town says how many are built on.
        for lot in 0..9u64 {
            let built = random.unit() < f64::from(self.town);
            let (width, depth) = (7.0 + 7.0 * random.unit() as f32, 7.0 + 6.0 * random.unit() as f32);
            let eaves = 3.0 + 6.0 * random.unit() as f32;
            let material = match random.below(3) {
                0 => SLATE,
                1 => CONCRETE,
                _ => TILE,
            };
            if built {
                let (x, y) = ((lot % 3) as f32 * 16.6 + 1.0, (lot / 3) as f32 * 16.6 + 1.0);
                roofs.push(Roof { x, y, width, depth, eaves, material });
            }
        }
        roofs
    }
}

#[derive(Clone, Copy, Debug)]
struct Crown {
    x: f32,
    y: f32,
    radius: f32,
    height: f32,
    conifer: bool,
}

impl Crown {
    fn covers(&self, x: f32, y: f32) -> bool {
        (x - self.x) * (x - self.x) + (y - self.y) * (y - self.y) < self.radius * self.radius
    }
}

#[derive(Clone, Copy, Debug)]
struct Roof {
    x: f32,
    y: f32,
    width: f32,
    depth: f32,
    eaves: f32,
    material: Material,
}

impl Roof {
    fn covers(&self, x: f32, y: f32) -> bool {
        (self.x..self.x + self.width).contains(&x) && (self.y..self.y + self.depth).contains(&y)
    }

    /// Gabled: the ridge is in the middle.
    fn height_at(&self, x: f32) -> f32 {
        let half = self.width / 2.0;
        self.eaves + (half - (x - self.x - half).abs()) * 0.5
    }
}

/// A band across the patch: a road or a bridge.
#[derive(Clone, Copy, Debug)]
struct Strip {
    start: f32,
    slope: f32,
    half_width: f32,
    northwards: bool,
}

impl Strip {
    fn new(random: &mut Random, half_width: f32) -> Strip {
        Strip {
            start: 8.0 + 34.0 * random.unit() as f32,
            slope: 0.6 * (random.unit() as f32 - 0.5),
            half_width,
            northwards: random.below(2) == 0,
        }
    }

    fn covers(&self, x: f32, y: f32) -> bool {
        let (along, across) = if self.northwards { (y, x) } else { (x, y) };
        (across - self.start - self.slope * (along - 25.0)).abs() < self.half_width
    }
}

/// Value noise in 0..1: hashed lattice values, smoothly interpolated.
fn noise(seed: u64, x: f32, y: f32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (smooth(x - column), smooth(y - row));
    let corner = |dx: i64, dy: i64| {
        let key = ((column as i64 + dx) as u64) << 32 ^ ((row as i64 + dy) as u64 & 0xffff_ffff);
        (mix(seed, key) >> 40) as f32 / (1u32 << 24) as f32
    };
    let south = corner(0, 0) + u * (corner(1, 0) - corner(0, 0));
    let north = corner(0, 1) + u * (corner(1, 1) - corner(0, 1));
    south + v * (north - south)
}

/// A stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From [0, 1).
    fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(n)) >> 64) as u64
    }

    /// About normal, mean 0 and deviation 1: the sum of four uniform numbers, scaled.
    fn normal(&mut self) -> f32 {
        let word = self.word();
        let sum: u32 = (0..4).map(|i| (word >> (16 * i)) as u32 & 0xffff).sum();
        // Four uniform numbers of deviation 65536/√12 each have the sum's deviation 65536/√3.
        (sum as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
    }
}
