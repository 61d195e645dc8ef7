CREATE TABLE tollgate_schema (version integer NOT NULL);

-- How far each spool's records are in the tables.
CREATE TABLE tollgate_cursors (
  spool text PRIMARY KEY,
  seq bigint NOT NULL
);

-- Calls with the same value of each dimension.
CREATE TABLE tollgate_groups (
  id uuid PRIMARY KEY,
  account text NOT NULL, payer text NOT NULL, team text NOT NULL, user_id text NOT NULL, key text NOT NULL, key_alias text NOT NULL,
  end_user text NOT NULL, model text NOT NULL, upstream text NOT NULL, provider text NOT NULL, backend text NOT NULL,
  endpoint text NOT NULL, outcome text NOT NULL, source text NOT NULL, billed text NOT NULL, factor text NOT NULL, session text NOT NULL
);

CREATE TABLE tollgate_hours (
  group_id uuid NOT NULL, hour timestamptz NOT NULL,
  calls bigint NOT NULL, failed bigint NOT NULL, unpriced bigint NOT NULL, cost numeric NOT NULL, base_cost numeric NOT NULL,
  provider_cost numeric NOT NULL, provider_stated bigint NOT NULL, provider_stated_cost numeric NOT NULL,
  input_tokens numeric NOT NULL, output_tokens numeric NOT NULL,
  PRIMARY KEY (group_id, hour)
);
CREATE INDEX tollgate_hours_hour ON tollgate_hours (hour);

CREATE TABLE tollgate_days (
  group_id uuid NOT NULL, day date NOT NULL,
  calls bigint NOT NULL, failed bigint NOT NULL, unpriced bigint NOT NULL, cost numeric NOT NULL, base_cost numeric NOT NULL,
  provider_cost numeric NOT NULL, provider_stated bigint NOT NULL, provider_stated_cost numeric NOT NULL,
  input_tokens numeric NOT NULL, output_tokens numeric NOT NULL,
  PRIMARY KEY (group_id, day)
);
CREATE INDEX tollgate_days_day ON tollgate_days (day);

-- The quantity of each kind of usage.
CREATE TABLE tollgate_hour_kinds (
  group_id uuid NOT NULL, hour timestamptz NOT NULL, kind text NOT NULL, quantity numeric NOT NULL,
  PRIMARY KEY (group_id, hour, kind)
);
CREATE TABLE tollgate_day_kinds (
  group_id uuid NOT NULL, day date NOT NULL, kind text NOT NULL, quantity numeric NOT NULL,
  PRIMARY KEY (group_id, day, kind)
);

-- What the cost is made of: quantity, base cost and cost of each kind at each price.
CREATE TABLE tollgate_day_lines (
  group_id uuid NOT NULL, day date NOT NULL, line uuid NOT NULL,
  kind text NOT NULL, price numeric, per text NOT NULL, line_model text NOT NULL,
  quantity numeric NOT NULL, base_cost numeric NOT NULL, cost numeric NOT NULL,
  PRIMARY KEY (group_id, day, line)
);

-- Empty, unless the configuration asks for records.
CREATE TABLE tollgate_records (
  id uuid PRIMARY KEY,
  settled timestamptz NOT NULL,
  account text NOT NULL, payer text NOT NULL, team text NOT NULL, user_id text NOT NULL, key text NOT NULL, key_alias text NOT NULL,
  end_user text NOT NULL, model text NOT NULL, upstream text NOT NULL, provider text NOT NULL, backend text NOT NULL,
  endpoint text NOT NULL, outcome text NOT NULL, source text NOT NULL, billed text NOT NULL, factor text NOT NULL, session text NOT NULL,
  input_tokens numeric NOT NULL, output_tokens numeric NOT NULL, cost numeric NOT NULL, base_cost numeric NOT NULL,
  record jsonb NOT NULL
);
CREATE INDEX tollgate_records_settled ON tollgate_records (settled);

CREATE VIEW tollgate_hourly AS
  SELECT * FROM tollgate_hours h JOIN tollgate_groups g ON g.id = h.group_id;
CREATE VIEW tollgate_daily AS
  SELECT * FROM tollgate_days d JOIN tollgate_groups g ON g.id = d.group_id;
CREATE VIEW tollgate_hourly_kinds AS
  SELECT * FROM tollgate_hour_kinds k JOIN tollgate_groups g ON g.id = k.group_id;
CREATE VIEW tollgate_daily_kinds AS
  SELECT * FROM tollgate_day_kinds k JOIN tollgate_groups g ON g.id = k.group_id;
CREATE VIEW tollgate_daily_lines AS
  SELECT * FROM tollgate_day_lines l JOIN tollgate_groups g ON g.id = l.group_id;

INSERT INTO tollgate_schema VALUES (1);
