//! [`InstructionSet`]: which instructions the kernels use.

use std::fmt;

/// Which instructions the kernels use. All give the same counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Plain Rust, as the target was compiled.
    Portable,
    /// Plain Rust compiled for AVX2 and BMI2.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl InstructionSet {
    /// Variable that overrides [`Self::detect`]: `portable`, `avx2` or `avx512`.
    pub const VARIABLE: &str = "FRACTAL_INSTRUCTION_SET";

    /// The best this machine has, or the best at most what [`Self::VARIABLE`] names.
    pub fn detect() -> Self {
        let limit = std::env::var(Self::VARIABLE).ok();
        let mut available = Self::available();
        available
            .retain(|set| limit.as_deref().is_none_or(|l| *set <= Self::named(l).unwrap_or(InstructionSet::Avx512)));
        available.last().copied().unwrap_or(InstructionSet::Portable)
    }

    /// All that this machine has, the plainest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut sets = vec![InstructionSet::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt") && has!("lzcnt") {
                sets.push(InstructionSet::Avx2);
                if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                    sets.push(InstructionSet::Avx512);
                }
            }
        }
        sets
    }

    /// The word in the journal and in [`Self::VARIABLE`].
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Portable => "portable",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Avx512 => "avx512",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512].into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
