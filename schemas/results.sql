-- Tables and views of the results file. Insert only: no row is ever changed or removed.
-- The comments are the data dictionary: after a change, run `python -m harness.dictionary > schemas/README.md`,
-- and raise SCHEMA_VERSION in harness/store.py. Columns follow the record classes of harness/records.py in their order.

CREATE TABLE meta (
    name VARCHAR NOT NULL,
    value VARCHAR NOT NULL
);
COMMENT ON TABLE meta IS 'Facts about the file itself.';
COMMENT ON COLUMN meta.name IS 'schema_version and harness_version (of the harness that made the file), or drained (one row per spooled batch taken in).';
COMMENT ON COLUMN meta.value IS 'The fact, as text.';

CREATE TABLE audits (
    audit_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    seed BIGINT NOT NULL,
    spec JSON NOT NULL,
    spec_sha256 VARCHAR NOT NULL,
    plan_sha256 VARCHAR NOT NULL,
    data_sha256 VARCHAR NOT NULL,
    generator_sha256 VARCHAR NOT NULL,
    harness_version VARCHAR NOT NULL,
    environment JSON NOT NULL,
    supersedes VARCHAR
);
COMMENT ON TABLE audits IS 'One audit: what was asked, with what and where. The first row of an audit counts; the same inputs resume under the same audit_id.';
COMMENT ON COLUMN audits.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN audits.name IS 'Name of the audit, `audit:` of model.yaml.';
COMMENT ON COLUMN audits.started_at IS 'When the audit was first started (UTC).';
COMMENT ON COLUMN audits.seed IS 'Seed from which every seed of the audit is derived.';
COMMENT ON COLUMN audits.spec IS 'The whole model.yaml after validation, defaults filled in.';
COMMENT ON COLUMN audits.spec_sha256 IS 'SHA-256 in hex of model.yaml as it was written, as canonical JSON.';
COMMENT ON COLUMN audits.plan_sha256 IS 'SHA-256 in hex of what is locked before the first score: spec without the generator and free descriptions, and data_sha256.';
COMMENT ON COLUMN audits.data_sha256 IS 'SHA-256 in hex over the bytes of the real images'' files.';
COMMENT ON COLUMN audits.generator_sha256 IS 'SHA-256 in hex that identifies the audited generator: its name, options and the bytes of its files.';
COMMENT ON COLUMN audits.harness_version IS 'Version of the harness that started the audit.';
COMMENT ON COLUMN audits.environment IS 'Operating system, processor, Python and library versions of the machine, as an object.';
COMMENT ON COLUMN audits.supersedes IS 'audit_id of the earlier audit of this name whose plan or generator differed; NULL where there is none.';

CREATE TABLE outcomes (
    audit_id VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    error VARCHAR
);
COMMENT ON TABLE outcomes IS 'How an attempt ended. An attempt in the ledger without a row here was interrupted.';
COMMENT ON COLUMN outcomes.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN outcomes.attempt IS 'Number of the attempt, from 1, as in ledger.';
COMMENT ON COLUMN outcomes.finished_at IS 'When the attempt ended (UTC).';
COMMENT ON COLUMN outcomes.error IS 'What stopped the attempt, in words; NULL where it ran to its end.';

CREATE TABLE components (
    audit_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    options JSON NOT NULL,
    distribution VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    identity_sha256 VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    promises JSON NOT NULL
);
COMMENT ON TABLE components IS 'A component of the audit as it was built.';
COMMENT ON COLUMN components.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN components.kind IS 'Kind of the component: generator, extractor, perturbation, metric, task, rating_importer or llm_check.';
COMMENT ON COLUMN components.name IS 'Name of the component, as in model.yaml.';
COMMENT ON COLUMN components.options IS 'Options of the component, defaults filled in, as an object.';
COMMENT ON COLUMN components.distribution IS 'Installed distribution that offers the component, with its version.';
COMMENT ON COLUMN components.version IS 'Version that the component states about itself; part of every cell key.';
COMMENT ON COLUMN components.identity_sha256 IS 'SHA-256 in hex of name, version, options and the bytes of the files it reads; a later row of one kind and name is a later state.';
COMMENT ON COLUMN components.description IS 'What the component is, one sentence; empty where it says nothing.';
COMMENT ON COLUMN components.promises IS 'What the component declares: its quantities with units and directions, the failure modes it sees and is blind to.';

CREATE TABLE image_sets (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    sampling_run BIGINT,
    n BIGINT NOT NULL,
    channels BIGINT NOT NULL,
    size_px JSON NOT NULL,
    spacing_mm JSON NOT NULL,
    patients BIGINT,
    labels JSON NOT NULL,
    has_masks BOOLEAN NOT NULL,
    region_shares JSON NOT NULL,
    preprocessing JSON NOT NULL,
    sha256 VARCHAR NOT NULL
);
COMMENT ON TABLE image_sets IS 'An image set after preprocessing.';
COMMENT ON COLUMN image_sets.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN image_sets.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN image_sets.role IS 'What the set is in the audit: train, test, validation, synthetic, or synthetic_test (on which tasks are tested).';
COMMENT ON COLUMN image_sets.sampling_run IS 'Sampling run of synthetic images, counted from 1; NULL for real ones and those on which tasks are tested.';
COMMENT ON COLUMN image_sets.n IS 'Images in the set (count).';
COMMENT ON COLUMN image_sets.channels IS 'Channels of an image (1 grey, 3 colour).';
COMMENT ON COLUMN image_sets.size_px IS 'Size of an image in pixels, one number per spatial axis, array order.';
COMMENT ON COLUMN image_sets.spacing_mm IS 'Distance of pixel centres in mm, one number per spatial axis, array order; 1.0 where it is not known.';
COMMENT ON COLUMN image_sets.patients IS 'Different patients in the set (count); NULL where patients are unknown.';
COMMENT ON COLUMN image_sets.labels IS 'Images per label, as an object from label to count; empty where there are no labels.';
COMMENT ON COLUMN image_sets.has_masks IS 'Whether the images carry segmentation masks.';
COMMENT ON COLUMN image_sets.region_shares IS 'Share of an image that each region of its mask covers, mean over images, as an object from region number to fraction; empty where there are no masks.';
COMMENT ON COLUMN image_sets.preprocessing IS 'What was done to every image: intensity window, spacing, size, channels and counts of what was clipped.';
COMMENT ON COLUMN image_sets.sha256 IS 'SHA-256 in hex of pixels, masks, labels, patients and ids after preprocessing.';

CREATE TABLE planned_cells (
    audit_id VARCHAR NOT NULL,
    run BIGINT NOT NULL,
    key VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    title VARCHAR NOT NULL
);
COMMENT ON TABLE planned_cells IS 'A cell of a plan: one component on fixed inputs with fixed options and seed. The rows with the highest run of an audit are its plan in force.';
COMMENT ON COLUMN planned_cells.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN planned_cells.run IS 'Number of the plan within the audit, from 1; the highest is in force.';
COMMENT ON COLUMN planned_cells.key IS 'Key of the cell: 32 hex digits of the digest of everything its result depends on.';
COMMENT ON COLUMN planned_cells.stage IS 'Stage the cell belongs to: sample, extract, qualify, measure, evaluate, rate or judge.';
COMMENT ON COLUMN planned_cells.component IS 'Name of the component that the cell runs.';
COMMENT ON COLUMN planned_cells.title IS 'What the cell does, in words.';

CREATE TABLE cells (
    audit_id VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'not_computable', 'failed')),
    reason VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    peak_mb DOUBLE NOT NULL CHECK (isfinite(peak_mb)),
    cached BOOLEAN NOT NULL,
    output VARCHAR NOT NULL,
    CHECK (status = 'ok' OR trim(reason) <> '')
);
COMMENT ON TABLE cells IS 'What became of a cell; one row per key, written in one transaction with the results of the cell.';
COMMENT ON COLUMN cells.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN cells.key IS 'Key of the cell, as in planned_cells.';
COMMENT ON COLUMN cells.stage IS 'Stage the cell belongs to.';
COMMENT ON COLUMN cells.component IS 'Name of the component that the cell ran.';
COMMENT ON COLUMN cells.status IS 'ok: the cell has results; not_computable: the component says honestly that it has none; failed: it raised an error or broke its promise.';
COMMENT ON COLUMN cells.reason IS 'Why the cell has no results, in words; empty where status is ok.';
COMMENT ON COLUMN cells.seconds IS 'Wall-clock time of the cell (s); of the first computation where cached.';
COMMENT ON COLUMN cells.peak_mb IS 'Highest resident memory of the process during the cell (MB, 2^20 bytes).';
COMMENT ON COLUMN cells.cached IS 'Whether the results were found in the cache instead of being computed again.';
COMMENT ON COLUMN cells.output IS 'What the component printed, shortened; empty where it printed nothing.';

CREATE TABLE scores (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    extractor VARCHAR NOT NULL,
    sampling_run BIGINT,
    perturbation VARCHAR NOT NULL,
    severity DOUBLE CHECK (isfinite(severity)),
    stratum VARCHAR NOT NULL,
    real_share DOUBLE CHECK (isfinite(real_share)),
    synthetic_share DOUBLE CHECK (isfinite(synthetic_share)),
    repeat BIGINT,
    tested_on VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    ci_low DOUBLE CHECK (isfinite(ci_low)),
    ci_high DOUBLE CHECK (isfinite(ci_high)),
    ci_method VARCHAR NOT NULL,
    level DOUBLE CHECK (isfinite(level)),
    sides VARCHAR CHECK (sides IN ('one', 'two')),
    floor DOUBLE CHECK (isfinite(floor)),
    floor_low DOUBLE CHECK (isfinite(floor_low)),
    floor_high DOUBLE CHECK (isfinite(floor_high)),
    n_floor BIGINT,
    value_at_floor_n DOUBLE CHECK (isfinite(value_at_floor_n)),
    judged_value DOUBLE CHECK (isfinite(judged_value)),
    bound_low DOUBLE CHECK (isfinite(bound_low)),
    bound_high DOUBLE CHECK (isfinite(bound_high)),
    judged_n BIGINT,
    n BIGINT,
    n_patients BIGINT,
    seed BIGINT,
    method VARCHAR NOT NULL,
    unit VARCHAR NOT NULL,
    better VARCHAR CHECK (better IN ('lower', 'higher')),
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'not_computable', 'failed')),
    reason VARCHAR NOT NULL,
    CHECK ((status = 'ok') = (value IS NOT NULL)),
    CHECK (status = 'ok' OR trim(reason) <> '')
);
COMMENT ON TABLE scores IS 'One value of a quantity with interval and provenance; empty text or NULL in a dimension means that it does not apply.';
COMMENT ON COLUMN scores.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN scores.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN scores.stage IS 'Where the score comes from: measure, run (the value in one sampling run, where there are several), half (the value on one half-sample, which pairs audits of one plan), evaluate, qualify (a planted defect) or null (an unperturbed split).';
COMMENT ON COLUMN scores.component IS 'Name of the metric or task.';
COMMENT ON COLUMN scores.quantity IS 'Name of the quantity; `NAME_gain` is the paired gain of NAME over the mix (1, 0).';
COMMENT ON COLUMN scores.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN scores.sampling_run IS 'Sampling run that the value is about, from 1 (stages run and half); NULL elsewhere: a value is the mean over all runs.';
COMMENT ON COLUMN scores.perturbation IS 'Name of the perturbation of a replicate (stages qualify and null); empty elsewhere, and for null splits and severity 0 that all perturbations share.';
COMMENT ON COLUMN scores.severity IS 'Dose of the perturbation, 0 (nothing) to 1 (full severity); NULL where there is no perturbation.';
COMMENT ON COLUMN scores.stratum IS 'Subgroup of the images, as GROUP=VALUE; empty for all images.';
COMMENT ON COLUMN scores.real_share IS 'Real images of the training mix as a fraction of the real training count (1 = all of them); NULL outside stage evaluate.';
COMMENT ON COLUMN scores.synthetic_share IS 'Synthetic images of the training mix as a fraction of the real training count (0.5 = half as many again); NULL outside stage evaluate.';
COMMENT ON COLUMN scores.repeat IS 'Number of the repeat or replicate, from 0; NULL for a summary over repeats.';
COMMENT ON COLUMN scores.tested_on IS 'Images on which the task was tested: real or synthetic; empty outside stage evaluate.';
COMMENT ON COLUMN scores.region IS 'Region of the mask that the value is about; empty for the image as a whole.';
COMMENT ON COLUMN scores.value IS 'The value, in unit; NULL unless status is ok.';
COMMENT ON COLUMN scores.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN scores.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN scores.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN scores.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN scores.sides IS 'Whether ci_low..ci_high is a one-sided bound or a two-sided interval; NULL where there is no interval.';
COMMENT ON COLUMN scores.floor IS 'The same quantity on real against real images (expected value at n_floor images an arm), in unit: what a perfect generator would reach; NULL where it was not computed.';
COMMENT ON COLUMN scores.floor_low IS 'Lower end of the 95 % range of floor over splits, in unit; NULL where floor is.';
COMMENT ON COLUMN scores.floor_high IS 'Upper end of the 95 % range of floor over splits, in unit; NULL where floor is.';
COMMENT ON COLUMN scores.n_floor IS 'Images in each arm of the real-against-real comparison (count); NULL where floor is.';
COMMENT ON COLUMN scores.value_at_floor_n IS 'The quantity on synthetic images at n_floor images an arm, in unit; comparable with floor; NULL where it was not computed.';
COMMENT ON COLUMN scores.judged_value IS 'What a criterion judges, in unit: value_at_floor_n where the quantity is biased in n, value elsewhere; NULL where there is none.';
COMMENT ON COLUMN scores.bound_low IS 'One-sided 95 % lower bound of judged_value, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN scores.bound_high IS 'One-sided 95 % upper bound of judged_value, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN scores.judged_n IS 'Images behind judged_value, of one sampling run where there are several (count); NULL where judged_value is.';
COMMENT ON COLUMN scores.n IS 'Images, or test cases, behind value (count); NULL where not counted.';
COMMENT ON COLUMN scores.n_patients IS 'Patients behind value (count); NULL where patients are unknown.';
COMMENT ON COLUMN scores.seed IS 'Seed that the component was given; NULL where it used none.';
COMMENT ON COLUMN scores.method IS 'How the value was computed, where there are several ways, such as the route and ranks of a Frechet distance; the units of a half-sample at stage half; empty elsewhere.';
COMMENT ON COLUMN scores.unit IS 'Unit of value and of every number in that unit; 1 is dimensionless.';
COMMENT ON COLUMN scores.better IS 'Direction in which the quantity improves: lower or higher; NULL where neither is better.';
COMMENT ON COLUMN scores.status IS 'ok: value is there; not_computable: the component says honestly that it has no number; failed: it raised an error or broke its promise.';
COMMENT ON COLUMN scores.reason IS 'Why there is no value, in words; empty where status is ok.';

CREATE TABLE case_scores (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    tested_on VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    real_share DOUBLE NOT NULL CHECK (isfinite(real_share)),
    synthetic_share DOUBLE NOT NULL CHECK (isfinite(synthetic_share)),
    repeat BIGINT NOT NULL,
    case_id VARCHAR NOT NULL,
    patient VARCHAR,
    value DOUBLE NOT NULL CHECK (isfinite(value))
);
COMMENT ON TABLE case_scores IS 'One task result on one test case of one repeat; a case without a result has no row.';
COMMENT ON COLUMN case_scores.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN case_scores.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN case_scores.component IS 'Name of the task.';
COMMENT ON COLUMN case_scores.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN case_scores.tested_on IS 'Images on which the task was tested: real or synthetic.';
COMMENT ON COLUMN case_scores.region IS 'Region of the mask that the value is about; empty for the image as a whole.';
COMMENT ON COLUMN case_scores.real_share IS 'Real images of the training mix as a fraction of the real training count (1 = all of them).';
COMMENT ON COLUMN case_scores.synthetic_share IS 'Synthetic images of the training mix as a fraction of the real training count (0.5 = half as many again).';
COMMENT ON COLUMN case_scores.repeat IS 'Number of the repeat, from 0; the same repeat has the same seed in every mix.';
COMMENT ON COLUMN case_scores.case_id IS 'Id of the test image.';
COMMENT ON COLUMN case_scores.patient IS 'Patient of the test image; NULL where patients are unknown.';
COMMENT ON COLUMN case_scores.value IS 'Result on this case, in the unit that the task declares for the quantity (components.promises).';

CREATE TABLE image_scores (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    extractor VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    value DOUBLE NOT NULL CHECK (isfinite(value)),
    real_median DOUBLE NOT NULL CHECK (isfinite(real_median)),
    real_high DOUBLE NOT NULL CHECK (isfinite(real_high)),
    n_real BIGINT NOT NULL,
    excess DOUBLE NOT NULL CHECK (isfinite(excess))
);
COMMENT ON TABLE image_scores IS 'How far one synthetic image is to blame for a quantity; higher is worse.';
COMMENT ON COLUMN image_scores.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN image_scores.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN image_scores.component IS 'Name of the metric.';
COMMENT ON COLUMN image_scores.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN image_scores.extractor IS 'Extractor whose features were used; empty where the metric uses none.';
COMMENT ON COLUMN image_scores.item IS 'Id of the synthetic image.';
COMMENT ON COLUMN image_scores.value IS 'The metric''s number for this image, in a scale of its own.';
COMMENT ON COLUMN image_scores.real_median IS 'Median of the same number over the real test images.';
COMMENT ON COLUMN image_scores.real_high IS '95th percentile of the same number over the real test images.';
COMMENT ON COLUMN image_scores.n_real IS 'Number of real test images behind real_median and real_high.';
COMMENT ON COLUMN image_scores.excess IS '(value - real_median) / (real_high - real_median): above 1 is beyond 95 % of real test images; between 0 and 1000.';

CREATE TABLE ratings (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    rater VARCHAR NOT NULL,
    rater_kind VARCHAR NOT NULL CHECK (rater_kind IN ('expert', 'llm')),
    scale VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    text VARCHAR,
    status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    occasion VARCHAR NOT NULL,
    seconds DOUBLE CHECK (isfinite(seconds)),
    source VARCHAR NOT NULL,
    choices BIGINT,
    facts JSON NOT NULL,
    CHECK (value IS NULL OR text IS NULL),
    CHECK (value IS NOT NULL OR text IS NOT NULL OR trim(reason) <> '')
);
COMMENT ON TABLE ratings IS 'One rater''s opinion of one item on one scale.';
COMMENT ON COLUMN ratings.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN ratings.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN ratings.item IS 'Id of the rated image.';
COMMENT ON COLUMN ratings.rater IS 'Name of the rater.';
COMMENT ON COLUMN ratings.rater_kind IS 'Whether the rater is an expert or a language model (llm).';
COMMENT ON COLUMN ratings.scale IS 'Name of the scale.';
COMMENT ON COLUMN ratings.value IS 'Answer on an ordinal or interval scale, or a nominal code; NULL where the answer is a word or missing.';
COMMENT ON COLUMN ratings.text IS 'Answer in words; NULL where the answer is a number or missing.';
COMMENT ON COLUMN ratings.status IS 'ok: there is an answer; any other word says what became of it.';
COMMENT ON COLUMN ratings.reason IS 'Why there is no answer, in words; empty where there is one.';
COMMENT ON COLUMN ratings.occasion IS 'Which reading of the item by this rater; second readings measure agreement with oneself.';
COMMENT ON COLUMN ratings.seconds IS 'Time the rater took (s); NULL where it was not recorded.';
COMMENT ON COLUMN ratings.source IS 'Where the rating was read: file and line.';
COMMENT ON COLUMN ratings.choices IS 'Of how many images one was picked, where the item is a grid; NULL elsewhere.';
COMMENT ON COLUMN ratings.facts IS 'What the file says of the item, as an object: truth, origin, label, planted fault, modality and the like.';

CREATE TABLE judge_calls (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    scale VARCHAR NOT NULL,
    repeat BIGINT NOT NULL,
    model VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,
    prompt_sha256 VARCHAR NOT NULL,
    reply VARCHAR NOT NULL,
    reply_sha256 VARCHAR NOT NULL,
    tokens BIGINT,
    seconds DOUBLE CHECK (isfinite(seconds)),
    status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE judge_calls IS 'One question put to a language model, or one recorded answer, word for word.';
COMMENT ON COLUMN judge_calls.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN judge_calls.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN judge_calls.item IS 'Id of the image asked about.';
COMMENT ON COLUMN judge_calls.scale IS 'Name of the scale; several joined by a comma where one question asked them all.';
COMMENT ON COLUMN judge_calls.repeat IS 'Which time the question was asked, from 1.';
COMMENT ON COLUMN judge_calls.model IS 'Name and version of the language model.';
COMMENT ON COLUMN judge_calls.prompt IS 'Everything that was sent, each image replaced by its SHA-256.';
COMMENT ON COLUMN judge_calls.prompt_sha256 IS 'SHA-256 in hex of prompt.';
COMMENT ON COLUMN judge_calls.reply IS 'The text that came back; empty where none did.';
COMMENT ON COLUMN judge_calls.reply_sha256 IS 'SHA-256 in hex of reply.';
COMMENT ON COLUMN judge_calls.tokens IS 'Tokens of prompt and reply (count); NULL where they were not reported.';
COMMENT ON COLUMN judge_calls.seconds IS 'Time of the call (s); NULL where it was not recorded.';
COMMENT ON COLUMN judge_calls.status IS 'ok: the reply was understood; any other word says what became of it.';
COMMENT ON COLUMN judge_calls.reason IS 'Why the reply could not be used, in words; empty where it could.';

CREATE TABLE reliability (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    scale VARCHAR NOT NULL,
    analysis VARCHAR NOT NULL CHECK (analysis IN ('agreement', 'difference', 'intra_rater', 'correctness', 'identification', 'attention',
                                                  'share', 'mean', 'mrmc', 'model', 'concepts')),
    raters VARCHAR NOT NULL,
    items VARCHAR NOT NULL,
    statistic VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    ci_low DOUBLE CHECK (isfinite(ci_low)),
    ci_high DOUBLE CHECK (isfinite(ci_high)),
    ci_method VARCHAR NOT NULL,
    level DOUBLE CHECK (isfinite(level)),
    bound_low DOUBLE CHECK (isfinite(bound_low)),
    bound_high DOUBLE CHECK (isfinite(bound_high)),
    p DOUBLE CHECK (isfinite(p)),
    n_items BIGINT NOT NULL,
    n_raters BIGINT NOT NULL,
    trials BIGINT,
    scale_words VARCHAR NOT NULL,
    note VARCHAR NOT NULL,
    seed BIGINT,
    status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    CHECK ((status = 'ok') = (value IS NOT NULL)),
    CHECK (status = 'ok' OR trim(reason) <> '')
);
COMMENT ON TABLE reliability IS 'A number about raters: how far they agree, how right they are, what they say.';
COMMENT ON COLUMN reliability.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN reliability.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN reliability.scale IS 'Name of the scale.';
COMMENT ON COLUMN reliability.analysis IS 'What the row is part of: agreement among raters, difference of it between items, intra_rater agreement, correctness against the truth, identification of real images, attention (planted faults noticed), share of answers, mean answer, mrmc (multi-reader multi-case), model (a language model against experts and itself), concepts (sets against the truth).';
COMMENT ON COLUMN reliability.raters IS 'Who: experts, one rater, a pair of raters, majority, consensus, or llm with the name of a model.';
COMMENT ON COLUMN reliability.items IS 'Which items: all, real, synthetic, label=..., group=..., or the difference of two of these.';
COMMENT ON COLUMN reliability.statistic IS 'Name of the statistic, such as fleiss_kappa.';
COMMENT ON COLUMN reliability.category IS 'Category or concept that the statistic is about; empty where it is about all.';
COMMENT ON COLUMN reliability.value IS 'The statistic, dimensionless unless it is a mean answer; 1 is perfect agreement for coefficients; NULL unless status is ok.';
COMMENT ON COLUMN reliability.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN reliability.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN reliability.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN reliability.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN reliability.bound_low IS 'One-sided 95 % lower bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN reliability.bound_high IS 'One-sided 95 % upper bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN reliability.p IS 'P value of the test that note names; NULL where nothing is tested.';
COMMENT ON COLUMN reliability.n_items IS 'Items that entered (count).';
COMMENT ON COLUMN reliability.n_raters IS 'Raters that entered (count).';
COMMENT ON COLUMN reliability.trials IS 'Answers that entered (count); NULL where items and raters say it.';
COMMENT ON COLUMN reliability.scale_words IS 'What an interpretation scale calls the value, with the name of that scale; empty where there is none.';
COMMENT ON COLUMN reliability.note IS 'What must be known beside the value; empty where nothing must.';
COMMENT ON COLUMN reliability.seed IS 'Seed of the resampling; NULL where none was used.';
COMMENT ON COLUMN reliability.status IS 'ok: value is there; any other word says why not.';
COMMENT ON COLUMN reliability.reason IS 'Why there is no value, in words; empty where status is ok.';

CREATE TABLE consensus (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    scale VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    method VARCHAR NOT NULL CHECK (method IN ('majority', 'dawid_skene')),
    category VARCHAR,
    status VARCHAR NOT NULL,
    share DOUBLE CHECK (isfinite(share)),
    n_raters BIGINT NOT NULL
);
COMMENT ON TABLE consensus IS 'What the experts say of one item together.';
COMMENT ON COLUMN consensus.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN consensus.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN consensus.scale IS 'Name of the scale.';
COMMENT ON COLUMN consensus.item IS 'Id of the rated image.';
COMMENT ON COLUMN consensus.method IS 'majority: plurality of the ratings, ties left open; dawid_skene: most probable category when raters differ in skill.';
COMMENT ON COLUMN consensus.category IS 'The category; NULL in a tie or without ratings.';
COMMENT ON COLUMN consensus.status IS 'majority, plurality, tie or no_ratings; of dawid_skene consensus, tie, unsupported (no rater of the item chose the likeliest) or no_ratings.';
COMMENT ON COLUMN consensus.share IS 'Share of the ratings for category, or its posterior probability; NULL where there is none.';
COMMENT ON COLUMN consensus.n_raters IS 'Raters of the item (count).';

CREATE TABLE qualifications (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    extractor VARCHAR NOT NULL,
    perturbation VARCHAR NOT NULL,
    failure_mode VARCHAR NOT NULL,
    n BIGINT,
    dose_of_concern DOUBLE NOT NULL CHECK (isfinite(dose_of_concern)),
    dose_reason VARCHAR NOT NULL,
    replicates BIGINT,
    null_splits BIGINT,
    null_low DOUBLE CHECK (isfinite(null_low)),
    null_high DOUBLE CHECK (isfinite(null_high)),
    response DOUBLE CHECK (isfinite(response)),
    trend_p DOUBLE CHECK (isfinite(trend_p)),
    power DOUBLE CHECK (isfinite(power)),
    power_low DOUBLE CHECK (isfinite(power_low)),
    false_alarm_high DOUBLE CHECK (isfinite(false_alarm_high)),
    detected_at DOUBLE CHECK (isfinite(detected_at)),
    fault_seeds BIGINT,
    stability DOUBLE CHECK (isfinite(stability)),
    harmless VARCHAR NOT NULL,
    harmless_response DOUBLE CHECK (isfinite(harmless_response)),
    outcome VARCHAR CHECK (outcome IN ('qualified', 'conditional', 'not_qualified', 'reversed')),
    reason VARCHAR NOT NULL,
    CHECK (outcome IS NOT NULL OR trim(reason) <> '')
);
COMMENT ON TABLE qualifications IS 'Whether a quantity noticed a planted defect on the user''s own images.';
COMMENT ON COLUMN qualifications.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN qualifications.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN qualifications.component IS 'Name of the metric or task.';
COMMENT ON COLUMN qualifications.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN qualifications.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN qualifications.perturbation IS 'Name of the perturbation that was planted.';
COMMENT ON COLUMN qualifications.failure_mode IS 'Failure mode that the perturbation stands for.';
COMMENT ON COLUMN qualifications.n IS 'Images in the perturbed arm of each replicate (count); NULL where nothing could be computed.';
COMMENT ON COLUMN qualifications.dose_of_concern IS 'Severity from which on the purpose minds the defect, 0 to 1.';
COMMENT ON COLUMN qualifications.dose_reason IS 'Why this dose is the dose of concern; empty where no reason was given.';
COMMENT ON COLUMN qualifications.replicates IS 'Replicates at each dose (count); NULL where nothing could be computed.';
COMMENT ON COLUMN qualifications.null_splits IS 'Real-against-real splits (count), of which one half sets the null band and the other checks it; NULL where nothing could be computed.';
COMMENT ON COLUMN qualifications.null_low IS 'Lower end of the null band, in the unit of the quantity; NULL where it is open or unknown.';
COMMENT ON COLUMN qualifications.null_high IS 'Upper end of the null band, in the unit of the quantity; NULL where it is open or unknown.';
COMMENT ON COLUMN qualifications.response IS 'Mean shift at the dose of concern from severity 0 in null standard deviations, worse counted positive; NULL where not computable.';
COMMENT ON COLUMN qualifications.trend_p IS 'p-value of the test that the quantity grows worse with the dose; NULL where not computable.';
COMMENT ON COLUMN qualifications.power IS 'Share of replicates at the dose of concern that fell outside the null band, 0 to 1; NULL where not computable.';
COMMENT ON COLUMN qualifications.power_low IS 'One-sided 95 % lower bound of power; NULL where power is.';
COMMENT ON COLUMN qualifications.false_alarm_high IS 'One-sided 95 % upper bound of the share of unperturbed splits outside the null band; NULL where not computable.';
COMMENT ON COLUMN qualifications.detected_at IS 'Lowest severity from which on the defect was noticed; NULL where it was not noticed at any.';
COMMENT ON COLUMN qualifications.fault_seeds IS 'Independently planted probes from which the replicates are drawn (count); NULL where nothing could be computed.';
COMMENT ON COLUMN qualifications.stability IS 'Smallest share detected at the dose of concern among these probes, 0 to 1; NULL where not computable.';
COMMENT ON COLUMN qualifications.harmless IS 'Harmless change that moved the quantity most; empty where none was planted or none has a number.';
COMMENT ON COLUMN qualifications.harmless_response IS 'By how many null standard deviations that change moved it, in either direction; NULL where not computable.';
COMMENT ON COLUMN qualifications.outcome IS 'qualified, conditional, not_qualified, or reversed (the quantity called the defect an improvement); NULL where it could not be decided.';
COMMENT ON COLUMN qualifications.reason IS 'What decided the outcome, or why it could not be decided, in words.';

CREATE TABLE responses (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    quantity VARCHAR NOT NULL,
    extractor VARCHAR NOT NULL,
    perturbation VARCHAR NOT NULL,
    failure_mode VARCHAR NOT NULL,
    severity DOUBLE NOT NULL CHECK (isfinite(severity)),
    tested_on VARCHAR NOT NULL,
    n BIGINT NOT NULL CHECK (n >= 1),
    replicates BIGINT NOT NULL CHECK (replicates >= 1),
    mean DOUBLE NOT NULL CHECK (isfinite(mean)),
    low DOUBLE NOT NULL CHECK (isfinite(low)),
    high DOUBLE NOT NULL CHECK (isfinite(high)),
    response DOUBLE CHECK (isfinite(response)),
    detected DOUBLE NOT NULL CHECK (isfinite(detected)),
    unit VARCHAR NOT NULL,
    better VARCHAR NOT NULL CHECK (better IN ('lower', 'higher'))
);
COMMENT ON TABLE responses IS 'How a quantity answered to one planted defect, or to one harmless change, dose by dose.';
COMMENT ON COLUMN responses.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN responses.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN responses.component IS 'Name of the metric or task.';
COMMENT ON COLUMN responses.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN responses.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN responses.perturbation IS 'Name of the perturbation that was planted.';
COMMENT ON COLUMN responses.failure_mode IS 'Failure mode that the perturbation stands for; harmless for a negative control.';
COMMENT ON COLUMN responses.severity IS 'Severity at which it was planted, 0 (not at all) to 1.';
COMMENT ON COLUMN responses.tested_on IS 'planted for a task, which is trained on clean images and tested on planted ones; empty for a metric.';
COMMENT ON COLUMN responses.n IS 'Images in the perturbed arm of each replicate (count).';
COMMENT ON COLUMN responses.replicates IS 'Replicates (count).';
COMMENT ON COLUMN responses.mean IS 'Mean over the replicates, in the unit of the quantity.';
COMMENT ON COLUMN responses.low IS 'Smallest value of the replicates, in the unit of the quantity.';
COMMENT ON COLUMN responses.high IS 'Largest value of the replicates, in the unit of the quantity.';
COMMENT ON COLUMN responses.response IS 'Mean less the mean at severity 0, in null standard deviations, worse counted positive; NULL where the null splits do not vary.';
COMMENT ON COLUMN responses.detected IS 'Share of the replicates beyond the null band on the worse side, 0 to 1.';
COMMENT ON COLUMN responses.unit IS 'Unit of the quantity; 1 for a number without one.';
COMMENT ON COLUMN responses.better IS 'Which direction is better: lower or higher.';

CREATE TABLE training (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    series VARCHAR NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE NOT NULL CHECK (isfinite(value))
);
COMMENT ON TABLE training IS 'Curves of the training of a generator that the audit trained; what it learned from is in image_sets (train), the hardware in audits.';
COMMENT ON COLUMN training.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN training.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN training.component IS 'Name of the generator.';
COMMENT ON COLUMN training.series IS 'What the curve shows: loss, validation_loss, seconds (of training up to this step, over every attempt), or another name that the generator gave.';
COMMENT ON COLUMN training.step IS 'Optimisation steps done.';
COMMENT ON COLUMN training.value IS 'Value of the series, dimensionless for a loss, seconds for seconds.';

CREATE TABLE trust (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    component VARCHAR NOT NULL,
    factor VARCHAR NOT NULL,
    variant VARCHAR NOT NULL,
    region VARCHAR NOT NULL,
    tested_on VARCHAR NOT NULL,
    real_share DOUBLE NOT NULL CHECK (isfinite(real_share)),
    synthetic_share DOUBLE NOT NULL CHECK (isfinite(synthetic_share)),
    seed BIGINT NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    ci_low DOUBLE CHECK (isfinite(ci_low)),
    ci_high DOUBLE CHECK (isfinite(ci_high)),
    ci_method VARCHAR NOT NULL,
    level DOUBLE CHECK (isfinite(level)),
    n BIGINT,
    repeats BIGINT,
    status VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    CHECK ((status = 'ok') = (value IS NOT NULL)),
    CHECK (status = 'ok' OR trim(reason) <> '')
);
COMMENT ON TABLE trust IS 'A trust factor of Raja Babu et al. over the per-case results of the mixes.';
COMMENT ON COLUMN trust.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN trust.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN trust.component IS 'Name of the task whose Dice the factor is computed from.';
COMMENT ON COLUMN trust.factor IS 'Factor: T1 to T5.';
COMMENT ON COLUMN trust.variant IS 'Which of the published or corrected definitions of the factor.';
COMMENT ON COLUMN trust.region IS 'Region of the mask; empty for the image as a whole.';
COMMENT ON COLUMN trust.tested_on IS 'Images on which the task was tested: real or synthetic.';
COMMENT ON COLUMN trust.real_share IS 'Real images of the training mix as a fraction of the real training count (1 = all of them).';
COMMENT ON COLUMN trust.synthetic_share IS 'Synthetic images of the training mix as a fraction of the real training count (0.5 = half as many again).';
COMMENT ON COLUMN trust.seed IS 'Seed of the audit, which decides those of the trainings.';
COMMENT ON COLUMN trust.value IS 'The factor, dimensionless; NULL unless status is ok.';
COMMENT ON COLUMN trust.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN trust.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN trust.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN trust.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN trust.n IS 'Test cases that entered the factor; NULL where value is missing.';
COMMENT ON COLUMN trust.repeats IS 'Trainings of the task, each with a seed of its own, over which the factor is the mean; NULL where value is missing.';
COMMENT ON COLUMN trust.status IS 'ok: value is there; any other word says why not.';
COMMENT ON COLUMN trust.reason IS 'Why there is no value, in words; empty where status is ok.';

CREATE TABLE criteria (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    criterion VARCHAR NOT NULL,
    claim VARCHAR NOT NULL,
    role VARCHAR NOT NULL CHECK (role IN ('critical', 'supportive')),
    kind VARCHAR NOT NULL CHECK (kind IN ('E1', 'E2', 'E3', 'E4')),
    quantity VARCHAR NOT NULL,
    extractor VARCHAR NOT NULL,
    real_share DOUBLE CHECK (isfinite(real_share)),
    synthetic_share DOUBLE CHECK (isfinite(synthetic_share)),
    rule VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    ci_low DOUBLE CHECK (isfinite(ci_low)),
    ci_high DOUBLE CHECK (isfinite(ci_high)),
    threshold VARCHAR NOT NULL,
    threshold_low DOUBLE CHECK (isfinite(threshold_low)),
    threshold_high DOUBLE CHECK (isfinite(threshold_high)),
    because VARCHAR NOT NULL,
    n BIGINT,
    n_min BIGINT,
    unit VARCHAR NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('met', 'not_met', 'inconclusive', 'missing', 'invalid', 'post_hoc', 'unqualified', 'insufficient_n')),
    adverse BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL,
    CHECK (value IS NOT NULL OR trim(reason) <> '')
);
COMMENT ON TABLE criteria IS 'A criterion of a purpose with what was found and its status.';
COMMENT ON COLUMN criteria.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN criteria.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN criteria.purpose IS 'Name of the purpose.';
COMMENT ON COLUMN criteria.criterion IS 'Id of the criterion within the purpose.';
COMMENT ON COLUMN criteria.claim IS 'What the criterion claims, in words.';
COMMENT ON COLUMN criteria.role IS 'critical: the verdict hangs on it; supportive: it can only add.';
COMMENT ON COLUMN criteria.kind IS 'Kind of evidence: E1 metric, E2 task on real cases, E3 experts, E4 model judge.';
COMMENT ON COLUMN criteria.quantity IS 'What is judged: component.quantity, ratings.SCALE.STATISTIC or llm.SCALE.STATISTIC.';
COMMENT ON COLUMN criteria.extractor IS 'Name of the extractor; empty where none is used.';
COMMENT ON COLUMN criteria.real_share IS 'Real images of the training mix that a task is judged at, as a fraction of the real training count; NULL where no task is judged.';
COMMENT ON COLUMN criteria.synthetic_share IS 'Synthetic images of that mix, as a fraction of the real training count; NULL where no task is judged.';
COMMENT ON COLUMN criteria.rule IS 'The whole rule in words.';
COMMENT ON COLUMN criteria.value IS 'Value that was judged, in the unit of the quantity; NULL where there is none (reason says why).';
COMMENT ON COLUMN criteria.ci_low IS 'One-sided 95 % lower bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN criteria.ci_high IS 'One-sided 95 % upper bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN criteria.threshold IS 'Bound of the criterion in words, such as `at most 0.01`.';
COMMENT ON COLUMN criteria.threshold_low IS 'Lowest value that the criterion accepts, in the unit of the quantity; NULL where it has no lower bound.';
COMMENT ON COLUMN criteria.threshold_high IS 'Highest value that the criterion accepts, in the unit of the quantity; NULL where it has no upper bound.';
COMMENT ON COLUMN criteria.because IS 'Reason for the threshold, as declared before the audit; empty where none is stored.';
COMMENT ON COLUMN criteria.n IS 'Units behind value (count, see unit); NULL where not counted.';
COMMENT ON COLUMN criteria.n_min IS 'Units that the criterion demands (count, see unit); NULL where it demands none.';
COMMENT ON COLUMN criteria.unit IS 'Unit of analysis that n and n_min count: patient or image.';
COMMENT ON COLUMN criteria.status IS 'met, not_met, inconclusive (the interval straddles the threshold), missing, invalid, post_hoc (not in the locked plan), unqualified (the quantity does not notice the defects it must) or insufficient_n.';
COMMENT ON COLUMN criteria.adverse IS 'Whether the value fails the bound although the status is one in which it cannot decide; always false where the status is not_met.';
COMMENT ON COLUMN criteria.reason IS 'What decided the status, in words.';

CREATE TABLE verdicts (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    context_of_use VARCHAR NOT NULL,
    verdict VARCHAR NOT NULL CHECK (verdict IN ('adequate', 'adequate_with_conditions', 'insufficient_evidence', 'inadequate', 'not_assessed')),
    conditions JSON NOT NULL,
    rules JSON NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE verdicts IS 'The verdict of a purpose.';
COMMENT ON COLUMN verdicts.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN verdicts.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN verdicts.purpose IS 'Name of the purpose.';
COMMENT ON COLUMN verdicts.context_of_use IS 'Context of use, as declared.';
COMMENT ON COLUMN verdicts.verdict IS 'adequate, adequate_with_conditions, insufficient_evidence, inadequate or not_assessed.';
COMMENT ON COLUMN verdicts.conditions IS 'Conditions under which the verdict holds, a list of sentences; empty where there are none.';
COMMENT ON COLUMN verdicts.rules IS 'Rules in the order in which they were applied, a list of lines.';
COMMENT ON COLUMN verdicts.reason IS 'What decided the verdict, in words.';

CREATE TABLE findings (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    severity VARCHAR NOT NULL CHECK (severity IN ('note', 'warning', 'adverse', 'breach')),
    kind VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL
);
COMMENT ON TABLE findings IS 'Something that a reader must know.';
COMMENT ON COLUMN findings.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN findings.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN findings.severity IS 'note, warning, adverse (speaks against a purpose) or breach (the audit itself was compromised).';
COMMENT ON COLUMN findings.kind IS 'What it is about: leakage, memorisation, artefact, deviation and so on.';
COMMENT ON COLUMN findings.text IS 'The finding, in words.';
COMMENT ON COLUMN findings.evidence IS 'Where to look: ids, counts, file and line; empty where the text says it all.';

CREATE TABLE pictures (
    audit_id VARCHAR NOT NULL,
    cell VARCHAR NOT NULL,
    gallery VARCHAR NOT NULL CHECK (gallery IN ('real', 'synthetic', 'nearest', 'standout')),
    position BIGINT NOT NULL,
    item VARCHAR NOT NULL,
    caption VARCHAR NOT NULL,
    value DOUBLE CHECK (isfinite(value)),
    png BLOB NOT NULL,
    partner VARCHAR NOT NULL,
    partner_png BLOB
);
COMMENT ON TABLE pictures IS 'A small PNG for the dossier.';
COMMENT ON COLUMN pictures.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN pictures.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';
COMMENT ON COLUMN pictures.gallery IS 'Gallery the picture belongs to: real, synthetic, nearest (synthetic image beside its nearest training image) or standout (synthetic image that a metric blames).';
COMMENT ON COLUMN pictures.position IS 'Place in the gallery, from 0.';
COMMENT ON COLUMN pictures.item IS 'Id of the image.';
COMMENT ON COLUMN pictures.caption IS 'Caption, in words.';
COMMENT ON COLUMN pictures.value IS 'Number that chose the picture, such as a distance to the nearest training image; NULL where it was drawn without one.';
COMMENT ON COLUMN pictures.png IS 'The picture, a PNG file.';
COMMENT ON COLUMN pictures.partner IS 'Id of the image beside it (gallery nearest); empty elsewhere.';
COMMENT ON COLUMN pictures.partner_png IS 'The picture beside it, a PNG file: the nearest training image (gallery nearest), or the same image with the outline of its mask (galleries real and synthetic); NULL where there is none.';

CREATE TABLE ledger (
    audit_id VARCHAR NOT NULL,
    attempt BIGINT NOT NULL,
    event VARCHAR NOT NULL,
    "at" TIMESTAMPTZ NOT NULL,
    plan_sha256 VARCHAR NOT NULL,
    previous_sha256 VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    CHECK (event IN ('locked', 'started', 'resumed', 'finished', 'interrupted')),
    CHECK (regexp_full_match(previous_sha256, '[0-9a-f]{64}')),
    CHECK (regexp_full_match(sha256, '[0-9a-f]{64}'))
);
COMMENT ON TABLE ledger IS 'Append-only chain of events over the whole file: each row carries the digest of the row before it, so a changed or removed row breaks the chain.';
COMMENT ON COLUMN ledger.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN ledger.attempt IS 'Number of the attempt, from 1; 0 for a plan locked before any attempt.';
COMMENT ON COLUMN ledger.event IS 'locked (the plan was fixed), started, resumed, finished or interrupted.';
COMMENT ON COLUMN ledger."at" IS 'When it happened (UTC); write it in double quotes in SQL, because AT is a reserved word.';
COMMENT ON COLUMN ledger.plan_sha256 IS 'SHA-256 in hex of the plan at that moment.';
COMMENT ON COLUMN ledger.previous_sha256 IS 'sha256 of the row before it in this file; 64 zeros in the first row.';
COMMENT ON COLUMN ledger.sha256 IS 'SHA-256 in hex over audit_id and every other column as canonical JSON.';
CREATE VIEW current_cells AS
SELECT p.audit_id, p.run, p.stage, p.component, p.title, p.key, coalesce(c.status, 'pending') AS status,
       coalesce(c.reason, '') AS reason, c.seconds, c.peak_mb, c.cached
FROM planned_cells AS p
JOIN (SELECT audit_id, max(run) AS run FROM planned_cells GROUP BY audit_id) AS latest USING (audit_id, run)
LEFT JOIN cells AS c ON c.audit_id = p.audit_id AND c.key = p.key
ORDER BY p.audit_id, p.rowid;
COMMENT ON VIEW current_cells IS 'Cells of the plan in force of every audit, with what became of them. Every other view shows only results of these cells. Example: SELECT stage, component, title, reason FROM current_cells WHERE status = ''failed''';
COMMENT ON COLUMN current_cells.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN current_cells.run IS 'Number of the plan within the audit, from 1; the highest is in force.';
COMMENT ON COLUMN current_cells.stage IS 'Stage the cell belongs to: sample, extract, qualify, measure, evaluate, rate or judge.';
COMMENT ON COLUMN current_cells.component IS 'Name of the component that the cell runs.';
COMMENT ON COLUMN current_cells.title IS 'What the cell does, in words.';
COMMENT ON COLUMN current_cells.key IS 'Key of the cell: 32 hex digits of the digest of everything its result depends on.';
COMMENT ON COLUMN current_cells.status IS 'ok, not_computable, failed, or pending where the cell has not finished.';
COMMENT ON COLUMN current_cells.reason IS 'Why the cell has no results, in words; empty where it has or is pending.';
COMMENT ON COLUMN current_cells.seconds IS 'Wall-clock time of the cell (s); of the first computation where cached; NULL where pending.';
COMMENT ON COLUMN current_cells.peak_mb IS 'Highest resident memory of the process during the cell (MB, 2^20 bytes); NULL where pending.';
COMMENT ON COLUMN current_cells.cached IS 'Whether the results were found in the cache instead of being computed again; NULL where pending.';

CREATE VIEW fidelity AS
SELECT s.audit_id, s.component, s.quantity, s.extractor, s.stratum, s.value, s.ci_low, s.ci_high, s.ci_method, s.level, s.sides,
       s.floor, s.floor_low, s.floor_high, s.n_floor, s.value_at_floor_n, s.judged_value, s.bound_low, s.bound_high, s.judged_n,
       s.n, s.n_patients, s.method, s.unit, s.better, s.status, s.reason, s.cell
FROM scores AS s
SEMI JOIN current_cells AS c ON c.audit_id = s.audit_id AND c.key = s.cell
WHERE s.stage = 'measure'
ORDER BY s.audit_id, s.rowid;
COMMENT ON VIEW fidelity IS 'How close the synthetic images are to the real ones: every quantity of every metric, beside its real-against-real floor. Example: SELECT component, quantity, extractor, value, ci_low, ci_high, floor FROM fidelity WHERE stratum = ''''';
COMMENT ON COLUMN fidelity.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN fidelity.component IS 'Name of the metric or task.';
COMMENT ON COLUMN fidelity.quantity IS 'Name of the quantity; `NAME_gain` is the paired gain of NAME over the mix (1, 0).';
COMMENT ON COLUMN fidelity.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN fidelity.stratum IS 'Subgroup of the images, as GROUP=VALUE; empty for all images.';
COMMENT ON COLUMN fidelity.value IS 'The value, in unit; NULL unless status is ok.';
COMMENT ON COLUMN fidelity.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN fidelity.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN fidelity.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN fidelity.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN fidelity.sides IS 'Whether ci_low..ci_high is a one-sided bound or a two-sided interval; NULL where there is no interval.';
COMMENT ON COLUMN fidelity.floor IS 'The same quantity on real against real images (expected value at n_floor images an arm), in unit: what a perfect generator would reach; NULL where it was not computed.';
COMMENT ON COLUMN fidelity.floor_low IS 'Lower end of the 95 % range of floor over splits, in unit; NULL where floor is.';
COMMENT ON COLUMN fidelity.floor_high IS 'Upper end of the 95 % range of floor over splits, in unit; NULL where floor is.';
COMMENT ON COLUMN fidelity.n_floor IS 'Images in each arm of the real-against-real comparison (count); NULL where floor is.';
COMMENT ON COLUMN fidelity.value_at_floor_n IS 'The quantity on synthetic images at n_floor images an arm, in unit; comparable with floor; NULL where it was not computed.';
COMMENT ON COLUMN fidelity.judged_value IS 'What a criterion judges, in unit: value_at_floor_n where the quantity is biased in n, value elsewhere; NULL where there is none.';
COMMENT ON COLUMN fidelity.bound_low IS 'One-sided 95 % lower bound of judged_value, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN fidelity.bound_high IS 'One-sided 95 % upper bound of judged_value, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN fidelity.judged_n IS 'Images behind judged_value (count); NULL where judged_value is.';
COMMENT ON COLUMN fidelity.n IS 'Images, or test cases, behind value (count); NULL where not counted.';
COMMENT ON COLUMN fidelity.n_patients IS 'Patients behind value (count); NULL where patients are unknown.';
COMMENT ON COLUMN fidelity.method IS 'How the value was computed, where there are several ways, such as the route and ranks of a Frechet distance; empty elsewhere.';
COMMENT ON COLUMN fidelity.unit IS 'Unit of value and of every number in that unit; 1 is dimensionless.';
COMMENT ON COLUMN fidelity.better IS 'Direction in which the quantity improves: lower or higher; NULL where neither is better.';
COMMENT ON COLUMN fidelity.status IS 'ok: value is there; not_computable: the component says honestly that it has no number; failed: it raised an error or broke its promise.';
COMMENT ON COLUMN fidelity.reason IS 'Why there is no value, in words; empty where status is ok.';
COMMENT ON COLUMN fidelity.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';

CREATE VIEW standouts AS
SELECT s.audit_id, s.component, s.quantity, s.extractor, s.item, s.excess, s.value, s.real_median, s.real_high, s.n_real, s.cell
FROM image_scores AS s
SEMI JOIN current_cells AS c ON c.audit_id = s.audit_id AND c.key = s.cell
WHERE s.excess > 1
ORDER BY s.audit_id, s.component, s.quantity, s.extractor, s.excess DESC, s.value DESC, s.item;
COMMENT ON VIEW standouts IS 'Synthetic images that a metric puts beyond 95 % of the real test images, the worst first. Example: SELECT component, quantity, item, excess FROM standouts WHERE component = ''artefacts'' LIMIT 10';
COMMENT ON COLUMN standouts.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN standouts.component IS 'Name of the metric.';
COMMENT ON COLUMN standouts.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN standouts.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN standouts.item IS 'Id of the synthetic image.';
COMMENT ON COLUMN standouts.excess IS '(value - real_median) / (real_high - real_median), above 1 and at most 1000.';
COMMENT ON COLUMN standouts.value IS 'The metric''s number for this image, in a scale of its own; higher is worse.';
COMMENT ON COLUMN standouts.real_median IS 'Median of the same number over the real test images.';
COMMENT ON COLUMN standouts.real_high IS '95th percentile of the same number over the real test images.';
COMMENT ON COLUMN standouts.n_real IS 'Number of real test images behind real_median and real_high.';
COMMENT ON COLUMN standouts.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';

CREATE VIEW dose_response AS
SELECT r.audit_id, r.component, r.quantity, r.extractor, r.perturbation, r.severity, r.mean, r.low, r.high, r.response, r.detected,
       r.replicates, r.n, r.tested_on, r.unit, r.better, r.failure_mode, q.dose_of_concern, q.null_low, q.null_high, q.detected_at,
       q.power, q.power_low, q.outcome, q.reason
FROM responses AS r
SEMI JOIN current_cells AS c ON c.audit_id = r.audit_id AND c.key = r.cell
LEFT JOIN (
    SELECT o.* FROM qualifications AS o SEMI JOIN current_cells AS c ON c.audit_id = o.audit_id AND c.key = o.cell
) AS q USING (audit_id, component, quantity, extractor, perturbation)
ORDER BY ALL;
COMMENT ON VIEW dose_response IS 'How every quantity answered to every planted defect, dose by dose, and whether that qualifies it. Example: SELECT component, quantity, perturbation, severity, mean, outcome FROM dose_response WHERE outcome IS DISTINCT FROM ''qualified''';
COMMENT ON COLUMN dose_response.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN dose_response.component IS 'Name of the metric.';
COMMENT ON COLUMN dose_response.quantity IS 'Name of the quantity.';
COMMENT ON COLUMN dose_response.extractor IS 'Name of the extractor whose features were used; empty where none was.';
COMMENT ON COLUMN dose_response.perturbation IS 'Name of the perturbation that was planted.';
COMMENT ON COLUMN dose_response.severity IS 'Dose of the perturbation, 0 (nothing) to 1 (full severity); NULL where there is no perturbation.';
COMMENT ON COLUMN dose_response.mean IS 'Mean over the replicates at this severity, in unit.';
COMMENT ON COLUMN dose_response.low IS 'Smallest value of the replicates, in unit.';
COMMENT ON COLUMN dose_response.high IS 'Largest value of the replicates, in unit.';
COMMENT ON COLUMN dose_response.response IS 'Mean less that at severity 0, in null standard deviations, worse counted positive; NULL where the null splits do not vary.';
COMMENT ON COLUMN dose_response.detected IS 'Share of the replicates beyond the null band on the worse side, 0 to 1.';
COMMENT ON COLUMN dose_response.replicates IS 'Replicates (count).';
COMMENT ON COLUMN dose_response.n IS 'Images in the perturbed arm of each replicate (count).';
COMMENT ON COLUMN dose_response.tested_on IS 'planted for a task, which is trained on clean images and tested on planted ones; empty for a metric.';
COMMENT ON COLUMN dose_response.unit IS 'Unit of value and of every number in that unit; 1 is dimensionless.';
COMMENT ON COLUMN dose_response.better IS 'Direction in which the quantity improves: lower or higher; NULL where neither is better.';
COMMENT ON COLUMN dose_response.failure_mode IS 'Failure mode that the perturbation stands for; NULL where nothing was decided yet.';
COMMENT ON COLUMN dose_response.dose_of_concern IS 'Severity from which on the purpose minds the defect, 0 to 1; NULL where nothing was decided yet.';
COMMENT ON COLUMN dose_response.null_low IS 'Lower end of the null band, in the unit of the quantity; NULL where it is open or unknown.';
COMMENT ON COLUMN dose_response.null_high IS 'Upper end of the null band, in the unit of the quantity; NULL where it is open or unknown.';
COMMENT ON COLUMN dose_response.detected_at IS 'Lowest severity from which on the defect was noticed; NULL where it was not noticed at any.';
COMMENT ON COLUMN dose_response.power IS 'Share of replicates at the dose of concern that fell outside the null band, 0 to 1; NULL where not computable.';
COMMENT ON COLUMN dose_response.power_low IS 'One-sided 95 % lower bound of power; NULL where power is.';
COMMENT ON COLUMN dose_response.outcome IS 'qualified, conditional, not_qualified, or reversed (the quantity called the defect an improvement); NULL where it could not be decided or nothing was decided yet.';
COMMENT ON COLUMN dose_response.reason IS 'What decided the outcome, or why it could not be decided, in words; NULL where nothing was decided yet.';

CREATE VIEW utility AS
WITH summary AS (
    SELECT s.*, s.rowid AS position
    FROM scores AS s
    SEMI JOIN current_cells AS c ON c.audit_id = s.audit_id AND c.key = s.cell
    WHERE s.stage = 'evaluate' AND s.repeat IS NULL
), gains AS (
    SELECT g.* FROM summary AS g
    SEMI JOIN summary AS s ON s.audit_id = g.audit_id AND s.component = g.component AND s.quantity || '_gain' = g.quantity
)
SELECT s.audit_id, s.component, s.quantity, s.tested_on, s.region, s.stratum, s.real_share, s.synthetic_share, s.value, s.ci_low,
       s.ci_high, s.ci_method, s.level, g.value AS gain, g.ci_low AS gain_low, g.ci_high AS gain_high,
       g.bound_low AS gain_bound_low, g.bound_high AS gain_bound_high, s.n, s.n_patients, s.unit, s.better, s.status, s.reason,
       g.status AS gain_status, g.reason AS gain_reason, s.cell
FROM (SELECT * FROM summary ANTI JOIN gains USING (position)) AS s
LEFT JOIN gains AS g
    ON g.audit_id = s.audit_id AND g.component = s.component AND g.quantity = s.quantity || '_gain'
    AND g.tested_on = s.tested_on AND g.region = s.region AND g.stratum = s.stratum
    AND g.real_share IS NOT DISTINCT FROM s.real_share AND g.synthetic_share IS NOT DISTINCT FROM s.synthetic_share
ORDER BY s.audit_id, s.position;
COMMENT ON VIEW utility IS 'How well tasks do that were trained on each mix of real and synthetic images, with the paired gain over real images alone, the mix (1, 0). Example: SELECT component, quantity, real_share, synthetic_share, value, gain, gain_low, gain_high FROM utility';
COMMENT ON COLUMN utility.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN utility.component IS 'Name of the metric or task.';
COMMENT ON COLUMN utility.quantity IS 'Name of the quantity; `NAME_gain` is the paired gain of NAME over the mix (1, 0).';
COMMENT ON COLUMN utility.tested_on IS 'Images on which the task was tested: real or synthetic; empty outside stage evaluate.';
COMMENT ON COLUMN utility.region IS 'Region of the mask that the value is about; empty for the image as a whole.';
COMMENT ON COLUMN utility.stratum IS 'Subgroup of the images, as GROUP=VALUE; empty for all images.';
COMMENT ON COLUMN utility.real_share IS 'Real images of the training mix as a fraction of the real training count (1 = all of them); NULL outside stage evaluate.';
COMMENT ON COLUMN utility.synthetic_share IS 'Synthetic images of the training mix as a fraction of the real training count (0.5 = half as many again); NULL outside stage evaluate.';
COMMENT ON COLUMN utility.value IS 'The value, in unit; NULL unless status is ok.';
COMMENT ON COLUMN utility.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN utility.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN utility.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN utility.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN utility.gain IS 'Paired difference from the mix (1, 0) over cases and repeats, in unit; NULL for that mix itself and where it could not be computed.';
COMMENT ON COLUMN utility.gain_low IS 'Lower end of the interval of gain at level, in unit; NULL where no interval is defined.';
COMMENT ON COLUMN utility.gain_high IS 'Upper end of the interval of gain at level, in unit; NULL where gain_low is.';
COMMENT ON COLUMN utility.gain_bound_low IS 'One-sided 95 % lower bound of gain, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN utility.gain_bound_high IS 'One-sided 95 % upper bound of gain, in unit; NULL where no bound is defined.';
COMMENT ON COLUMN utility.n IS 'Images, or test cases, behind value (count); NULL where not counted.';
COMMENT ON COLUMN utility.n_patients IS 'Patients behind value (count); NULL where patients are unknown.';
COMMENT ON COLUMN utility.unit IS 'Unit of value and of every number in that unit; 1 is dimensionless.';
COMMENT ON COLUMN utility.better IS 'Direction in which the quantity improves: lower or higher; NULL where neither is better.';
COMMENT ON COLUMN utility.status IS 'ok: value is there; not_computable: the component says honestly that it has no number; failed: it raised an error or broke its promise.';
COMMENT ON COLUMN utility.reason IS 'Why there is no value, in words; empty where status is ok.';
COMMENT ON COLUMN utility.gain_status IS 'Status of gain: ok, not_computable or failed; NULL where no gain is defined.';
COMMENT ON COLUMN utility.gain_reason IS 'Why there is no gain, in words; empty where there is one, NULL where none is defined.';
COMMENT ON COLUMN utility.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';

CREATE VIEW agreement AS
SELECT r.audit_id, r.scale, r.analysis, r.raters, r.items, r.statistic, r.category, r.value, r.ci_low, r.ci_high, r.ci_method, r.level, r.bound_low, r.bound_high,
       r.p, r.n_items, r.n_raters, r.trials, r.scale_words, r.note, r.status, r.reason, r.cell
FROM reliability AS r
SEMI JOIN current_cells AS c ON c.audit_id = r.audit_id AND c.key = r.cell
ORDER BY r.audit_id, r.rowid;
COMMENT ON VIEW agreement IS 'Numbers about raters: how far they agree, how right they are, what they say. Example: SELECT scale, raters, items, statistic, value, ci_low, ci_high, n_items, n_raters FROM agreement WHERE analysis = ''agreement''';
COMMENT ON COLUMN agreement.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN agreement.scale IS 'Name of the scale.';
COMMENT ON COLUMN agreement.analysis IS 'What the row is part of: agreement among raters, difference of it between items, intra_rater agreement, correctness against the truth, identification of real images, attention (planted faults noticed), share of answers, mean answer, mrmc (multi-reader multi-case), model (a language model against experts and itself), concepts (sets against the truth).';
COMMENT ON COLUMN agreement.raters IS 'Who: experts, one rater, a pair of raters, majority, consensus, or llm with the name of a model.';
COMMENT ON COLUMN agreement.items IS 'Which items: all, real, synthetic, label=..., group=..., or the difference of two of these.';
COMMENT ON COLUMN agreement.statistic IS 'Name of the statistic, such as fleiss_kappa.';
COMMENT ON COLUMN agreement.category IS 'Category or concept that the statistic is about; empty where it is about all.';
COMMENT ON COLUMN agreement.value IS 'The statistic, dimensionless unless it is a mean answer; 1 is perfect agreement for coefficients; NULL unless status is ok.';
COMMENT ON COLUMN agreement.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN agreement.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN agreement.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN agreement.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN agreement.bound_low IS 'One-sided 95 % lower bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN agreement.bound_high IS 'One-sided 95 % upper bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN agreement.p IS 'P value of the test that note names; NULL where nothing is tested.';
COMMENT ON COLUMN agreement.n_items IS 'Items that entered (count).';
COMMENT ON COLUMN agreement.n_raters IS 'Raters that entered (count).';
COMMENT ON COLUMN agreement.trials IS 'Answers that entered (count); NULL where items and raters say it.';
COMMENT ON COLUMN agreement.scale_words IS 'What an interpretation scale calls the value, with the name of that scale; empty where there is none.';
COMMENT ON COLUMN agreement.note IS 'What must be known beside the value; empty where nothing must.';
COMMENT ON COLUMN agreement.status IS 'ok: value is there; any other word says why not.';
COMMENT ON COLUMN agreement.reason IS 'Why there is no value, in words; empty where status is ok.';
COMMENT ON COLUMN agreement.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';

CREATE VIEW recorded_answers AS
SELECT r.audit_id, r.item, r.scale, TRY_CAST(r.occasion AS BIGINT) AS repeat, r.rater AS model,
       coalesce(r.text, CAST(r.value AS VARCHAR)) AS answer, r.status = 'refused' AS refused, r.status, r.reason, r.seconds
FROM ratings AS r
SEMI JOIN current_cells AS c ON c.audit_id = r.audit_id AND c.key = r.cell
WHERE r.rater_kind = 'llm'
ORDER BY r.audit_id, r.rowid;
COMMENT ON VIEW recorded_answers IS 'Answers of language models in the form that the llm_check recorded replays. Example: SELECT * EXCLUDE (audit_id) FROM recorded_answers';
COMMENT ON COLUMN recorded_answers.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN recorded_answers.item IS 'Id of the rated image.';
COMMENT ON COLUMN recorded_answers.scale IS 'Name of the scale.';
COMMENT ON COLUMN recorded_answers.repeat IS 'Which time the question was asked, from 1.';
COMMENT ON COLUMN recorded_answers.model IS 'Name and version of the language model.';
COMMENT ON COLUMN recorded_answers.answer IS 'Answer in words, a number as text; NULL where there is none.';
COMMENT ON COLUMN recorded_answers.refused IS 'Whether the model refused to answer.';
COMMENT ON COLUMN recorded_answers.status IS 'ok: there is an answer; any other word says what became of it.';
COMMENT ON COLUMN recorded_answers.reason IS 'Why there is no answer, in words; empty where there is one.';
COMMENT ON COLUMN recorded_answers.seconds IS 'Time of the call (s); NULL where it was not recorded.';

CREATE VIEW trust_profile AS
SELECT t.audit_id, t.component, t.factor, t.variant, t.region, t.tested_on, t.real_share, t.synthetic_share, t.value, t.ci_low, t.ci_high,
       t.ci_method, t.level, t.n, t.repeats, t.status, t.reason, t.cell
FROM trust AS t
SEMI JOIN current_cells AS c ON c.audit_id = t.audit_id AND c.key = t.cell
ORDER BY t.audit_id, t.rowid;
COMMENT ON VIEW trust_profile IS 'The trust factors T1 to T5 of Raja Babu et al. for every mix. Example: SELECT factor, variant, real_share, synthetic_share, value FROM trust_profile';
COMMENT ON COLUMN trust_profile.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN trust_profile.component IS 'Name of the task whose Dice the factor is computed from.';
COMMENT ON COLUMN trust_profile.factor IS 'Factor: T1 to T5.';
COMMENT ON COLUMN trust_profile.variant IS 'Which of the published or corrected definitions of the factor.';
COMMENT ON COLUMN trust_profile.region IS 'Region of the mask; empty for the image as a whole.';
COMMENT ON COLUMN trust_profile.tested_on IS 'Images on which the task was tested: real or synthetic.';
COMMENT ON COLUMN trust_profile.real_share IS 'Real images of the training mix as a fraction of the real training count (1 = all of them).';
COMMENT ON COLUMN trust_profile.synthetic_share IS 'Synthetic images of the training mix as a fraction of the real training count (0.5 = half as many again).';
COMMENT ON COLUMN trust_profile.value IS 'The factor, dimensionless; NULL unless status is ok.';
COMMENT ON COLUMN trust_profile.ci_low IS 'Lower end of the interval of value, in its unit, at level; NULL where no interval is defined (ci_method says why) or value is missing.';
COMMENT ON COLUMN trust_profile.ci_high IS 'Upper end of the interval of value, in its unit, at level; NULL where ci_low is.';
COMMENT ON COLUMN trust_profile.ci_method IS 'How the interval was made; empty where there is none.';
COMMENT ON COLUMN trust_profile.level IS 'Confidence level of ci_low..ci_high as a fraction (0.95); NULL where there is no interval.';
COMMENT ON COLUMN trust_profile.n IS 'Test cases that entered the factor; NULL where value is missing.';
COMMENT ON COLUMN trust_profile.repeats IS 'Trainings of the task, each with a seed of its own, over which the factor is the mean; NULL where value is missing.';
COMMENT ON COLUMN trust_profile.status IS 'ok: value is there; any other word says why not.';
COMMENT ON COLUMN trust_profile.reason IS 'Why there is no value, in words; empty where status is ok.';
COMMENT ON COLUMN trust_profile.cell IS 'Key of the cell that computed the row; empty where the row belongs to the audit as a whole.';

CREATE VIEW adequacy AS
WITH decided AS (
    SELECT v.*, v.rowid AS position FROM verdicts AS v SEMI JOIN current_cells AS c ON c.audit_id = v.audit_id AND c.key = v.cell
), judged AS (
    SELECT k.*, k.rowid AS position FROM criteria AS k SEMI JOIN current_cells AS c ON c.audit_id = k.audit_id AND c.key = k.cell
)
SELECT audit_id, purpose, v.verdict, k.criterion, k.claim, k.role, k.quantity, k.extractor, k.real_share, k.synthetic_share,
       k.value, k.ci_low, k.ci_high, k.threshold, k.n, k.status, k.adverse, coalesce(k.reason, v.reason) AS reason
FROM decided AS v
FULL JOIN judged AS k USING (audit_id, purpose)
ORDER BY audit_id, v.position, purpose, k.position;
COMMENT ON VIEW adequacy IS 'The verdict of every purpose with the criteria it rests on, one row per criterion. A purpose without criteria has one row. Example: SELECT purpose, verdict, criterion, status, value, threshold, reason FROM adequacy';
COMMENT ON COLUMN adequacy.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN adequacy.purpose IS 'Name of the purpose.';
COMMENT ON COLUMN adequacy.verdict IS 'adequate, adequate_with_conditions, insufficient_evidence, inadequate or not_assessed; NULL where criteria were judged but no verdict was reached.';
COMMENT ON COLUMN adequacy.criterion IS 'Id of the criterion within the purpose; NULL, like the columns after it up to adverse, where the purpose has none.';
COMMENT ON COLUMN adequacy.claim IS 'What the criterion claims, in words.';
COMMENT ON COLUMN adequacy.role IS 'critical: the verdict hangs on it; supportive: it can only add.';
COMMENT ON COLUMN adequacy.quantity IS 'What is judged: component.quantity, ratings.SCALE.STATISTIC or llm.SCALE.STATISTIC.';
COMMENT ON COLUMN adequacy.extractor IS 'Extractor whose features the quantity was measured on; empty where it uses none.';
COMMENT ON COLUMN adequacy.real_share IS 'Real images of the training mix that a task is judged at, as a fraction of the real training count; NULL where no task is judged.';
COMMENT ON COLUMN adequacy.synthetic_share IS 'Synthetic images of that mix, as a fraction of the real training count; NULL where no task is judged.';
COMMENT ON COLUMN adequacy.value IS 'Value that was judged, in the unit of the quantity; NULL where there is none (reason says why).';
COMMENT ON COLUMN adequacy.ci_low IS 'One-sided 95 % lower bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN adequacy.ci_high IS 'One-sided 95 % upper bound of value; NULL where no bound is defined.';
COMMENT ON COLUMN adequacy.threshold IS 'Bound of the criterion in words, such as `at most 0.01`.';
COMMENT ON COLUMN adequacy.n IS 'Patients or images behind value (count; criteria.unit says which); NULL where not counted.';
COMMENT ON COLUMN adequacy.status IS 'met, not_met, inconclusive (the interval straddles the threshold), missing, invalid, post_hoc (not in the locked plan), unqualified (the quantity does not notice the defects it must) or insufficient_n.';
COMMENT ON COLUMN adequacy.adverse IS 'Whether the value fails the bound although the status is one in which it cannot decide; always false where the status is not_met.';
COMMENT ON COLUMN adequacy.reason IS 'What decided the status of the criterion, in words; what decided the verdict where there is no criterion.';

CREATE VIEW conservation AS
SELECT audit_id, CASE WHEN grouping(stage) = 1 THEN 'total' ELSE stage END AS stage, count(*) AS planned,
       count(*) FILTER (WHERE status = 'ok') AS ok, count(*) FILTER (WHERE status = 'not_computable') AS not_computable,
       count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) = count(*) FILTER (WHERE status IN ('ok', 'not_computable', 'failed')) AS holds
FROM current_cells
GROUP BY GROUPING SETS ((audit_id, stage), (audit_id))
ORDER BY audit_id, grouping(stage), list_position(['sample', 'extract', 'qualify', 'measure', 'evaluate', 'rate', 'judge'], stage), stage;
COMMENT ON VIEW conservation IS 'Cells of the plan in force, counted by what became of them: one row per stage and a total per audit. Example: SELECT audit_id, planned, ok, not_computable, failed, pending FROM conservation WHERE stage = ''total''';
COMMENT ON COLUMN conservation.audit_id IS 'Audit the row belongs to: the audit''s name, 8 hex digits of the plan''s digest, 8 of the generator''s.';
COMMENT ON COLUMN conservation.stage IS 'Stage, or total for the whole audit.';
COMMENT ON COLUMN conservation.planned IS 'Cells of the plan in force (count).';
COMMENT ON COLUMN conservation.ok IS 'Cells that have results (count).';
COMMENT ON COLUMN conservation.not_computable IS 'Cells whose component says honestly that it has no result (count).';
COMMENT ON COLUMN conservation.failed IS 'Cells whose component raised an error or broke its promise (count).';
COMMENT ON COLUMN conservation.pending IS 'Cells that have not finished (count).';
COMMENT ON COLUMN conservation.holds IS 'Whether every planned cell is accounted for: planned = ok + not_computable + failed.';
