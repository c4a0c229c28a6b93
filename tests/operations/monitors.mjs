// Validates custom resources against the JSON schemas of their definitions; prints one line for each that is wrong.
import { readFileSync } from "node:fs";
import { PodMonitor, PrometheusRule, ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";

const kinds = { PodMonitor, PrometheusRule, ServiceMonitor, ScaledObject };
for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const { apiVersion: _version, kind, ...body } = resource;
  try {
    new kinds[kind](body).validate();
  } catch (error) {
    console.log(`${kind} ${body.metadata.name}: ${error.message}`);
  }
}
