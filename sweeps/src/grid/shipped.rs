//! The grids that come with the program, embedded so that they work without its source tree.

use super::{Grid, GridError};

/// Name and text of each shipped grid; the texts are the files of `sweeps/grids/`.
pub const SHIPPED: [(&str, &str); 6] = [
    ("local", include_str!("../../grids/local.toml")),
    ("server", include_str!("../../grids/server.toml")),
    ("experiment-1", include_str!("../../grids/experiment-1.toml")),
    ("experiment-2", include_str!("../../grids/experiment-2.toml")),
    ("experiment-3", include_str!("../../grids/experiment-3.toml")),
    ("smoke", include_str!("../../grids/smoke.toml")),
];

/// The shipped grid of that name.
///
/// # Errors
/// [`GridError`] if the text is no grid, which the tests rule out.
pub fn shipped(name: &str) -> Option<Result<Grid, GridError>> {
    let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
    Some(Grid::parse(&format!("grids/{name}.toml"), text))
}
