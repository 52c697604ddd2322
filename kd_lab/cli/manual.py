"""What `--help` prints: of the whole command, and of each subcommand. Nothing wider than 79 columns."""

WHOLE = """\
kd-lab: train a teacher, distil it into a small student, and measure what the
student gained.

  kd-lab [KEY=VALUE ...]       teacher -> student alone -> distilled -> table
  kd-lab -m seed=0,1,2 [...]   a sweep: every combination of the values; what
                               is done already is not done again
  kd-lab compare [STUDY ...]   which arm is best, and is the difference real?
  kd-lab doctor [KEY=VALUE..]  what would be compared; trains nothing
  kd-lab evaluate run=ID       measure a finished run's network again, here
  kd-lab predict run=ID FILE   what a finished run says of new samples, as CSV
  kd-lab export run=ID ...     a network as ONNX, int8, torch.export, weights
  kd-lab import-recipe FILE    another framework's recipe, as a command
  kd-lab sync                  bring in runs kept while a server was away
  kd-lab list [GROUP[=NAME]]   what can be chosen, and what can be set of it
  kd-lab ui                    MLflow's own pages on the same runs
  kd-lab notebook [STUDY]      JupyterLab on notebooks that read the runs
  kd-lab COMMAND --help        more of one of these

Choose parts:
  dataset=digits teacher=ensemble student=mlp loss=kd trainer=cpu
  tracking=local experiment=cifar100/resnet32x4_resnet8x4
Change values:
  student.recipe.epochs=50 student.recipe.optimizer.lr=1e-3 seed=1 study=NAME
  loss.temperature=4 loss.hard_weight=0.1 teacher.weights=run:ID
  dataset.path=my.npz dataset.labels=100 baseline=false
Sweep:
  sweep.jobs=4 (four at once), sweep=NAME (a grid with a name), sweep=optuna or
  sweep=pbt (chosen on dataset.validation=100, then run with five seeds)
Classes of your own, from modules in this folder:
  student._target_=my_module.Net student.width=64
  dataset._target_=my_module.Data       loss._target_=my_module.MyLoss
  --config-dir=FOLDER     your own YAML beside kd-lab's: FOLDER/loss/mine.yaml
  trust=my_module         lets a run of a store name a class of yours

  kd-lab --cfg job [...]             the whole config, without running it
  eval "$(kd-lab -sc install=bash)"  completion in bash and zsh; in fish:
                                     kd-lab -sc install=fish | source
  kd-lab --version

Exit codes: 0 done, 1 training failed, 2 wrong input, 130 interrupted.
"""

URI = """\
  tracking.uri=URI   the store: sqlite:///FILE or an MLflow server's address
                     (sqlite:///mlflow.db, in the folder you stand in)
"""

OF_COMMAND = {
    "compare": f"""\
kd-lab compare [STUDY ...] [KEY=VALUE ...] [--out DIR]

Which arm is best, and is the difference real? Mean and spread over the seeds,
and the gain over the same student alone and over plain kd, tested in pairs.

  STUDY              one or more; the only one of the store by default
  metric=KEY         test/accuracy_top1 by default, or such as test/nll_nats
  against=ARM        what the others are compared with: a loss, such as dkd, or
                     one arm; kd by default
  where=KEY=VALUE    only such arms: where=loss=kd where=temperature=4
  mix=KEY,...        allow in one table what is kept apart: teacher, budget
  format=NAME        table, markdown or csv
  --out DIR          write a page with figures, CSV, Markdown, PNG and SVG
{URI}
Example: kd-lab compare digits against=dkd --out results
""",
    "doctor": """\
kd-lab doctor [KEY=VALUE ...]

What a job would compare, and how strongly each term of the loss pulls at the
first step. Trains nothing and writes nothing.

  KEY=VALUE          as for the job itself: dataset, teacher, student, loss

Example: kd-lab doctor loss=at teacher=cnn student=cnn student.channels=[8,16]
""",
    "evaluate": f"""\
kd-lab evaluate run=ID [KEY=VALUE ...]

Rebuild the network of a finished run, measure it here, and print that beside
what the run recorded. What the run lacks is added to it.

  run=ID             the run; the first characters of its id are enough
  weights=best       those of its best epoch on the validation part, where
                     checkpoint.keep=both kept them
  trainer=NAME       cpu by default, or gpu
  dataset=NAME       measure it on other data, of the same classes and shape:
  dataset.KEY=VALUE  a dataset and its settings, or the run's own with other
                     ones; nothing is added to the run then
  trust=MODULE       let the run name a class of your own module
{URI}
Example: kd-lab evaluate run=1a2b3c4d
         kd-lab evaluate run=1a2b3c4d dataset.path=other_scanner.npz
""",
    "export": f"""\
kd-lab export run=ID format=NAME out=FILE [KEY=VALUE ...]

Write the network of a finished run as a file that answers elsewhere as it
does here: raw samples go in, batches of every size. It is checked against
PyTorch on real samples, and a model card, FILE.md, is written beside it. File,
accuracy, size and latency are kept as a run under that run.

  run=ID             the run; the first characters of its id are enough
  format=NAME        onnx (.onnx), torch_export (.pt2), safetensors (weights,
                     and a .json that builds the network), or int8 (.onnx,
                     calibrated on the samples that the student learned from)
  out=FILE           a new file; overwrite=true replaces an old one
  weights=best       those of its best epoch on the validation part, where
                     checkpoint.keep=both kept them
  tolerance=NUMBER   how far a logit may be from PyTorch's, in units of the
                     largest one or of 1: 1e-4
  licence=TEXT       of the data, for the card
  trust=MODULE       let the run name a class of your own module
{URI}
Example: kd-lab export run=1a2b3c4d format=onnx out=student.onnx
""",
    "notebook": f"""\
kd-lab notebook [STUDY] [KEY=VALUE ...]

JupyterLab, until Ctrl-C, on kd-lab's notebooks: they are copied once into
./kd_lab_notebooks, where yours stay as you change them.

  STUDY              what they read; each its own study by default
{URI}
Example: kd-lab notebook digits
""",
    "predict": f"""\
kd-lab predict run=ID FILE [KEY=VALUE ...]

What the network of a finished run says of new samples, as CSV on standard
output: the class, how sure, and the probability of each class. Read and
answered in batches; nothing is written before all samples are answered.

  run=ID             the run; the first characters of its id are enough
  FILE               as those that it learned from: .npz with X, .npy; a table;
                     .csv, .jsonl, .parquet with the column of texts; .h5ad;
                     .ts; a picture, or a folder of them;
                     what the dataset does to its samples is done to these
  out=FILE.csv       where it is written, if that is not there yet
  trust=MODULE       let the run name a class of your own module
{URI}
Example: kd-lab predict run=1a2b3c4d new.npz > predictions.csv
""",
    "import-recipe": """\
kd-lab import-recipe FILE [out=FILE.yaml]

Read a recipe of another framework, print the kd-lab command that does the
same, and say what of it has no counterpart.

  FILE               a shell script with RepDistiller's train_student.py and
                     its flags, a YAML of mdistiller, or one of torchdistill
  out=FILE.yaml      also written as FOLDER/experiment/NAME.yaml, which
                     --config-dir=FOLDER experiment=NAME then chooses

Example: kd-lab import-recipe run_crd.sh
""",
    "list": """\
kd-lab list [GROUP ...] [GROUP=NAME ...]

What can be chosen, a line each; of one choice its settings, their defaults and
what they mean.

  GROUP              dataset, teacher, student, loss, recipe, optimizer ...
  GROUP=NAME         all that can be set of one choice

Example: kd-lab list loss=dkd
""",
    "sync": """\
kd-lab sync [tracking.uri=URI]

Bring runs that were kept in this folder while a server was away to it,
completely and once, however often it is started.

  tracking.uri=URI   where to; by default where each run was meant to go

Example: kd-lab sync tracking.uri=sqlite:///mlflow.db
""",
    "ui": f"""\
kd-lab ui [KEY=VALUE ...]

MLflow's own pages on the runs, until Ctrl-C; prints the address of each study.

  port=NUMBER        5000 by default
{URI}
Example: kd-lab ui port=5001
""",
}


def asked(arguments: list[str]) -> str | None:
    """What to print, if these arguments ask for help."""
    wants = arguments[:1] == ["help"] or bool({"-h", "--help"} & set(arguments))
    if not wants:
        return None
    named = [argument for argument in arguments if argument in OF_COMMAND]
    return OF_COMMAND[named[0]] if named and named[0] in arguments[:2] else WHOLE
