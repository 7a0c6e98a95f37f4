// Draws the dashboard with the components and the theme of Grafana's UI library. answers.json,
// which dashboard.py writes, has the dashboard as it is, and for each target of each panel the
// series that Prometheus answered.

import "@fontsource/inter/latin-400.css";
import "@fontsource/inter/latin-500.css";
import {
  applyFieldOverrides, createDataFrame, createTheme, dateTime, FieldType,
  getDisplayValueAlignmentFactors, getFieldDisplayValues, identityOverrideProcessor,
  standardFieldConfigEditorRegistry, ThemeContext,
} from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from "@grafana/ui";
import { defaultsDeep } from "lodash";
import { createRoot } from "react-dom/client";
import { answers, dashboard, from, step, to } from "./answers.json";

// Grafana's grid has 24 columns, and rows of 30 pixels; dashboard.py knows how high that becomes.
const [COLUMNS, ROW, GAP] = [24, 30, 8];
const COLUMN = (window.innerWidth - GAP) / COLUMNS - GAP;

const theme = createTheme({ colors: { mode: "dark" } });
const timeZone = "utc";
const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
const replaceVariables = (text) => text;

// What holds in Grafana for what the dashboard leaves open.
const thresholds = {
  mode: "absolute",
  steps: [{ value: -Infinity, color: "green" }, { value: 80, color: "red" }],
};
const DEFAULTS = {
  stat: {
    fields: { thresholds, color: { mode: "thresholds" } },
    options: {
      graphMode: "area", colorMode: "value", justifyMode: "auto", textMode: "auto",
      orientation: "auto", reduceOptions: { calcs: ["lastNotNull"] },
    },
  },
  timeseries: {
    fields: {
      thresholds,
      color: { mode: "palette-classic" },
      custom: {
        drawStyle: "line", lineInterpolation: "linear", lineWidth: 1, fillOpacity: 0,
        gradientMode: "none", showPoints: "auto", pointSize: 5, spanNulls: false,
        axisPlacement: "auto", axisGridShow: true, scaleDistribution: { type: "linear" },
        stacking: { mode: "none", group: "A" },
      },
    },
    options: { legend: { showLegend: true, displayMode: "list", placement: "bottom", calcs: [] } },
  },
};

// The library has the options of fields applied, but leaves it to Grafana to say which there are.
const option = (path, isCustom) => ({
  id: isCustom ? `custom.${path}` : path, name: path, path, isCustom,
  process: identityOverrideProcessor, shouldApply: () => true,
});
standardFieldConfigEditorRegistry.setInit(() => [
  ...["unit", "min", "max", "decimals", "displayName", "noValue", "mappings", "thresholds", "color"]
    .map((path) => option(path, false)),
  ...Object.keys(DEFAULTS.timeseries.fields.custom).map((path) => option(path, true)),
]);

// One series, with a gap where Prometheus has no value.
function frame({ metric, values }, { refId, legendFormat }) {
  const steps = Math.round((to - from) / step) + 1;
  const times = Array.from({ length: steps }, (_, n) => (from + n * step) * 1000);
  const numbers = Array(steps).fill(null);
  for (const [at, value] of values) {
    numbers[Math.round((at - from) / step)] = Number.isFinite(Number(value)) ? Number(value) : null;
  }
  const label = (_, name) => metric[name] ?? "";
  const displayNameFromDS = legendFormat.replace(/\{\{(\w+)\}\}/g, label);
  const value = { name: "Value", type: FieldType.number, labels: metric, values: numbers };
  return createDataFrame({
    refId,
    fields: [
      { name: "Time", type: FieldType.time, values: times },
      { ...value, config: { displayNameFromDS } },
    ],
  });
}

function Stat({ data, fieldConfig, options, width, height }) {
  const getValues = () => getFieldDisplayValues({
    data, fieldConfig, theme, timeZone, replaceVariables,
    reduceOptions: options.reduceOptions, sparkline: options.graphMode !== "none",
  });
  const renderValue = ({ value: { display, sparkline }, ...place }) => (
    <BigValue
      {...options} {...place} theme={theme} value={display}
      sparkline={sparkline && { ...sparkline, timeRange }}
    />
  );
  return (
    <VizRepeater
      source={data} getValues={getValues} renderValue={renderValue} renderCounter={0}
      getAlignmentFactors={getDisplayValueAlignmentFactors} orientation={options.orientation}
      autoGrid itemSpacing={3} width={width} height={height}
    />
  );
}

function Series({ data, options, width, height }) {
  return (
    <TimeSeries
      frames={data} options={options} legend={options.legend} timeRange={timeRange}
      timeZone={timeZone} structureRev={1} width={width} height={height}
    />
  );
}

const VIEWS = { stat: Stat, timeseries: Series };

function Panel({ panel: { type, title, gridPos, targets, ...panel }, series }) {
  const View = VIEWS[type];
  const options = defaultsDeep({}, panel.options, DEFAULTS[type].options);
  const fieldConfig = defaultsDeep({}, panel.fieldConfig, { defaults: DEFAULTS[type].fields });
  const data = applyFieldOverrides({
    data: targets.flatMap((target, n) => series[n].map((one) => frame(one, target))),
    fieldConfig, theme, timeZone, replaceVariables,
  });
  const { x, y, w, h } = gridPos;
  const place = {
    position: "absolute", left: GAP + x * (COLUMN + GAP), top: GAP + y * (ROW + GAP),
  };
  return (
    <div style={place}>
      <PanelChrome
        title={title} width={w * (COLUMN + GAP) - GAP} height={h * (ROW + GAP) - GAP}
      >
        {(width, height) => <View {...{ data, fieldConfig, options, width, height }} />}
      </PanelChrome>
    </div>
  );
}

createRoot(document.body).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    {dashboard.panels.map((panel, n) => <Panel key={n} panel={panel} series={answers[n]} />)}
  </ThemeContext.Provider>,
);
