// The app of a patient in the words of the generated client. It is compiled, not run: where a name
// or a type of the API changes, this no longer compiles.
import createClient from "openapi-fetch";

import type { components, paths } from "./generated/schema";

type Session = components["schemas"]["SessionWrite"];
type Item = components["schemas"]["PlanItem"];
type Problem = components["schemas"]["Problem"];

const api = createClient<paths>({
  baseUrl: "http://localhost:8000",
  headers: { "X-Session-Token": "…", Client: "example/1.0.0 (web)" },
});

function told(problem: Problem): never {
  const where = problem.errors?.map((error) => `${error.pointer}: ${error.code}`) ?? [];
  throw new Error([problem.code, ...where].join("\n"));
}

function done(item: Item): NonNullable<Session["entries"]>[number] {
  const { sets, reps } = item.dose;
  return {
    prescription_id: item.prescription_id,
    state: "done",
    sets: Array.from({ length: sets }, () => (reps ? { reps: reps.min } : {})),
  };
}

export async function logToday(id: string, now: Date): Promise<components["schemas"]["SlotStatus"]> {
  const plan = await api.GET("/api/v1/me/plan", {
    params: { query: { days: 1 }, header: { "If-None-Match": '"the last one"' } },
  });
  if (plan.error) told(plan.error);
  const day = plan.data.days[0];
  const slot = day?.slots[0];
  const assignment = day?.assignments[0];
  if (!slot || !assignment) return "excused";

  const session: Session = {
    revision: 1,
    assignment_id: assignment.assignment_id,
    assignment_version: assignment.version,
    slot_id: slot.slot_id,
    local_date: day.date,
    timezone: plan.data.timezone,
    recorded_at: now.toISOString(),
    state: "finished",
    pain_during: 2,
    effort: 6.5,
    entries: slot.items.map(done),
  };
  const stored = await api.PUT("/api/v1/me/sessions/{id}", {
    params: { path: { id } },
    body: session,
  });
  if (stored.error) told(stored.error);
  return stored.data.derived?.outcome === "completed" ? "completed" : "partial";
}

export async function push(items: components["schemas"]["PushItemWrite"][]): Promise<string[]> {
  const { data, error } = await api.POST("/api/v1/me/sync/push", {
    body: { sent_at: new Date().toISOString(), items },
  });
  if (error) told(error);
  return data.results.filter((result) => result.status === "rejected").map((result) => result.id ?? "");
}

export async function everyChange(seen: (type: string, id: string) => void): Promise<string> {
  let cursor: string | undefined;
  for (;;) {
    const { data, error } = await api.GET("/api/v1/me/sync/changes", {
      params: { query: cursor ? { cursor } : {} },
    });
    if (error) told(error);
    data.items.forEach((item) => seen(item.type, item.id));
    cursor = data.cursor;
    if (!data.has_more) return cursor;
  }
}

export async function assign(patientId: string, protocolId: string, episodeId: string): Promise<number> {
  const protocol = await api.GET("/api/v1/protocols/{id}", { params: { path: { id: protocolId } } });
  if (protocol.error) told(protocol.error);
  const made = await api.POST("/api/v1/patients/{id}/assignments", {
    params: { path: { id: patientId }, header: { "Idempotency-Key": crypto.randomUUID() } },
    body: {
      protocol_id: protocol.data.id,
      protocol_version: protocol.data.version ?? "1.0.0",
      episode_id: episodeId,
      start_date: "2026-11-19",
      tailoring: [{ op: "set_days", key: "phase-1/sg-nordic", schedule: { kind: "daily" } }],
    },
  });
  if (made.error) told(made.error);
  return made.data.version;
}
