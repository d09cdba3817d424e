//! The wall times as a picture: a row a case, a dot a subject, side by side for each database.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::measure::Row;

const ROW_HEIGHT: u32 = 26;
/// Above the cases.
const LEGEND_ROWS: u32 = 3;
const PANEL_WIDTH: u32 = 700;
const SUBJECTS: [(&str, RGBColor); 3] = [
    ("floor", RGBColor(120, 120, 120)),
    ("ours", RGBColor(0, 114, 178)),
    ("naive", RGBColor(213, 94, 0)),
];

pub(crate) fn draw(rows: &[Row], file: &Path) -> Result<()> {
    let mut cases: Vec<&str> = Vec::new();
    let mut databases: Vec<&str> = Vec::new();
    for row in rows {
        if !cases.contains(&row.case.as_str()) {
            cases.push(&row.case);
        }
        if !databases.contains(&row.database) {
            databases.push(row.database);
        }
    }
    let slowest = rows.iter().map(|row| row.wall_s).fold(0.01, f64::max);
    let fastest = rows.iter().map(|row| row.wall_s).fold(slowest, f64::min);
    let size = (
        PANEL_WIDTH * databases.len() as u32,
        ROW_HEIGHT * (cases.len() as u32 + LEGEND_ROWS) + 110,
    );
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, database) in area
        .split_evenly((1, databases.len()))
        .iter()
        .zip(&databases)
    {
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("A cycle on {database}"), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(300)
            .build_cartesian_2d(
                (fastest / 1.5..slowest * 1.5).log_scale(),
                -(cases.len() as f64) + 0.5..f64::from(LEGEND_ROWS) + 0.5,
            )?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_desc("wall time in seconds (logarithmic)")
            .x_label_formatter(&|seconds| format!("{seconds}"))
            .light_line_style(WHITE)
            .draw()?;
        for (number, case) in cases.iter().enumerate() {
            let y = -(number as f64);
            let (left, right) = (fastest / 1.5, slowest * 1.5);
            chart.draw_series(std::iter::once(PathElement::new(
                vec![(left, y), (right, y)],
                RGBColor(225, 225, 225),
            )))?;
            let pixel = chart.backend_coord(&(left, y));
            let base = panel.get_base_pixel();
            let style = ("sans-serif", 13).into_text_style(panel).pos(
                plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Right,
                    plotters::style::text_anchor::VPos::Center,
                ),
            );
            panel.draw(&Text::new(
                case.to_string(),
                (pixel.0 - base.0 - 8, pixel.1 - base.1),
                style,
            ))?;
        }
        for (subject, color) in SUBJECTS {
            let dots = rows
                .iter()
                .filter(|row| row.database == *database && row.subject == subject)
                .map(|row| {
                    let number = cases.iter().position(|case| *case == row.case).unwrap_or(0);
                    Circle::new((row.wall_s, -(number as f64)), 5, color.filled())
                });
            chart
                .draw_series(dots)?
                .label(subject)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, color.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.9))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
    }
    area.present()?;
    Ok(())
}
