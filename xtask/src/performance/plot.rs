//! Figures as pictures.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::table::Row;

const SIZE: (u32, u32) = (720, 400);

/// Told apart by those, too, who do not see all colours.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(120, 120, 120),
    RGBColor(213, 94, 0),
    RGBColor(0, 0, 0),
];

/// Times by something that grows from one point to the next.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// What each point is of.
    pub(super) points: Vec<String>,
    /// Names with the nanoseconds at each point.
    pub(super) lines: Vec<(String, Vec<f64>)>,
}

impl Plot {
    /// Of the rows that say `before`, something and `after`, which is the name of the point.
    pub(super) fn of_rows(title: &'static str, rows: &[Row], parts: &[(&str, &str, &str)]) -> Self {
        let mut plot = Self {
            title,
            points: Vec::new(),
            lines: Vec::new(),
        };
        for (before, after, name) in parts {
            let named = rows.iter().filter_map(|row| {
                let rest = row.what.strip_prefix(before)?;
                Some((rest.strip_suffix(after)?, row.times))
            });
            let (points, times): (Vec<&str>, Vec<[f64; 2]>) =
                named.filter(|(point, _)| !point.contains(',')).unzip();
            plot.points = points.into_iter().map(str::to_owned).collect();
            for (side, whose) in ["engine", "bare wasmtime"].into_iter().enumerate() {
                let line = times.iter().map(|times| times[side]).collect();
                plot.lines.push((format!("{whose}{name}"), line));
            }
        }
        plot
    }

    pub(super) fn draw(&self, file: &Path) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| anyhow!("drawing {}: {error}", file.display());
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(|error| failed(&error))?;
        let times = self.lines.iter().flat_map(|(_, times)| times);
        let most = times.fold(0.0_f64, |most, time| most.max(*time));
        let (unit, of_unit) = if most < 1e7 {
            ("µs", 1e3)
        } else {
            ("ms", 1e6)
        };
        let last = self.points.len().saturating_sub(1);
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .margin_right(36)
            .x_label_area_size(32)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..last as f64, 0.0..most / of_unit * 1.1)
            .map_err(|error| failed(&error))?;
        let point = |place: &f64| {
            let is_point = (place - place.round()).abs() < 1e-6;
            let point = self.points.get(place.round() as usize);
            point.filter(|_| is_point).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .x_labels(self.points.len())
            .x_label_formatter(&point)
            .y_desc(unit)
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(|error| failed(&error))?;
        for (number, (name, times)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()].stroke_width(2);
            let points = times.iter().enumerate();
            let points = points.map(|(place, nanos)| (place as f64, nanos / of_unit));
            chart
                .draw_series(LineSeries::new(points, colour))
                .map_err(|error| failed(&error))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .legend_area_size(32)
            .background_style(WHITE)
            .draw()
            .map_err(|error| failed(&error))?;
        area.present().map_err(|error| failed(&error))
    }
}
