"""Verbs, errors and exit codes of the command line."""

import sys
from collections.abc import Sequence

import cyclopts
from rich.console import Console

import cogvideox
from cogvideox.cli import (
    caption,
    caption_compare,
    convert,
    curate,
    doctor,
    evaluate,
    generate,
    jobs,
    keys,
    label,
    models,
    negatives,
    plan,
    reconstruct,
    serve,
    train,
    verify_parity,
    webhooks,
    worker,
)
from cogvideox.cli.output import NO_READER, discard_output, exit_code_of, has_no_reader, report_error

app = cyclopts.App(
    name="cogvideox",
    help="Text-to-video with CogVideoX: generate, reconstruct, convert, curate, label, caption, train, evaluate.",
    version=cogvideox.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(generate.generate)
app.command(plan.plan)
app.command(reconstruct.reconstruct)
app.command(verify_parity.verify_parity)
app.command(convert.convert)
app.command(serve.serve)
app.command(worker.worker)

models_app = cyclopts.App(name="models", help="What there is, on this machine and on the hub.")
models_app.command(models.list_models, name="list")
for verb in (models.pull, models.info, models.verify, models.remove, models.export):
    models_app.command(verb)
app.command(models_app)

train_app = cyclopts.App(name="train", help="Train a part of a model from a recipe.")
train_app.command(train.autoencoder)
train_app.command(train.text_encoder)
train_app.command(train.transformer)
train_app.command(train.judge)
train_app.command(train.filters)
train_app.command(train.summariser)
train_app.command(train.captioner)
app.command(train_app)
app.command(train.encode)

curate_app = cyclopts.App(name="curate")
curate_app.default(curate.curate)
for verb in (curate.describe, curate.explain, curate.sweep):
    curate_app.command(verb)
app.command(curate_app)

label_app = cyclopts.App(name="label")
label_app.default(label.label)
label_app.command(label.export)
label_app.command(label.import_, name="import")
label_app.command(label.agreement)
label_app.command(negatives.negatives)
app.command(label_app)

caption_app = cyclopts.App(name="caption")
caption_app.default(caption.caption)
caption_app.command(caption.explain)
caption_app.command(caption_compare.compare)
app.command(caption_app)

jobs_app = cyclopts.App(name="jobs", help="The videos of a server.")
jobs_app.command(jobs.list_jobs, name="list")
for verb in (jobs.show, jobs.wait, jobs.watch, jobs.cancel, jobs.get):
    jobs_app.command(verb)
jobs_app.command(jobs.remove, name="rm")
app.command(jobs_app)

keys_app = cyclopts.App(name="keys", help="Who may use a server.")
keys_app.command(keys.new)
keys_app.command(keys.list_keys, name="list")
keys_app.command(keys.revoke)
app.command(keys_app)

webhooks_app = cyclopts.App(name="webhooks", help="Who is told when videos end.")
webhooks_app.command(webhooks.new)
webhooks_app.command(webhooks.list_webhooks, name="list")
for verb in (webhooks.test, webhooks.enable):
    webhooks_app.command(verb)
webhooks_app.command(webhooks.remove, name="rm")
app.command(webhooks_app)
app.command(doctor.doctor)

evaluate_app = cyclopts.App(name="evaluate", help="Score a model.")
evaluate_app.command(evaluate.prompt_following)
evaluate_app.command(evaluate.reconstruction)
evaluate_app.command(evaluate.captions)
evaluate_app.command(evaluate.gallery)
app.command(evaluate_app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code (see `cogvideox.cli.output.exit_code_of`)."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    wants_json = "--json" in tokens
    errors = Console(stderr=True, highlight=False)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, error_console=errors)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and has_no_reader(sys.stdout):
            discard_output()
            sys.exit(NO_READER)
        code = exit_code_of(error)
        report_error(error, code, errors, wants_json=wants_json)
    sys.exit(code if isinstance(code, int) else 0)
