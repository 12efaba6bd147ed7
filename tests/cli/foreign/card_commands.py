"""Commands as they are published, each with the packaged recipe that it must give.

The five of the model cards are those of huggingface.co/microsoft/NAME; the learning rates of v3-small and v3-base were read in public
copies of the cards. That of mDeBERTa uses a variable that it never sets, and a flag that run_xnli.py never had. Those of the DeBERTa
repository are microsoft/DeBERTa experiments/glue/*.sh at 4d7fe0b, with the variables of one case on top.
"""

CARD = """#!/bin/bash

cd transformers/examples/pytorch/text-classification/

pip install datasets
export TASK_NAME=mnli

output_dir="ds_results"

num_gpus=8

batch_size=8

python -m torch.distributed.launch --nproc_per_node=${{num_gpus}} \\
  run_glue.py \\
  --model_name_or_path microsoft/{model} \\
  --task_name $TASK_NAME \\
  --do_train \\
  --do_eval \\
  --evaluation_strategy steps \\
  --max_seq_length 256 \\
  --warmup_steps {warmup} \\
  --per_device_train_batch_size ${{batch_size}} \\
  --learning_rate {rate} \\
  --num_train_epochs {epochs} \\
  --output_dir $output_dir \\
  --overwrite_output_dir \\
  --logging_steps 1000 \\
  --logging_dir $output_dir
"""

MDEBERTA = """#!/bin/bash

cd transformers/examples/pytorch/text-classification/

pip install datasets

output_dir="ds_results"

num_gpus=8

batch_size=4

python -m torch.distributed.launch --nproc_per_node=${num_gpus} \\
  run_xnli.py \\
  --model_name_or_path microsoft/mdeberta-v3-base \\
  --task_name $TASK_NAME \\
  --do_train \\
  --do_eval \\
  --train_language en \\
  --language en \\
  --evaluation_strategy steps \\
  --max_seq_length 256 \\
  --warmup_steps 3000 \\
  --per_device_train_batch_size ${batch_size} \\
  --learning_rate 2e-5 \\
  --num_train_epochs 6 \\
  --output_dir $output_dir \\
  --overwrite_output_dir \\
  --logging_steps 1000 \\
  --logging_dir $output_dir
"""

CARDS = {
    "mnli/deberta-v3-xsmall": CARD.format(model="deberta-v3-xsmall", warmup=1000, rate="4.5e-5", epochs=3),
    "mnli/deberta-v3-small": CARD.format(model="deberta-v3-small", warmup=1500, rate="4.5e-5", epochs=3),
    "mnli/deberta-v3-base": CARD.format(model="deberta-v3-base", warmup=500, rate="2e-5", epochs=3),
    "mnli/deberta-v3-large": CARD.format(model="deberta-v3-large", warmup=50, rate="6e-6", epochs=2),
    "xnli/mdeberta-v3-base": MDEBERTA,
}

REPOSITORY = """cache_dir=/tmp/DeBERTa/
Task={task}
init={init}
tag=$init
parameters=" --num_train_epochs {epochs} \\
\t--fp16 {fp16} \\
\t--warmup {warmup} \\
\t--learning_rate {rate} \\
\t--train_batch_size {batch} \\
\t--cls_drop_out {dropout}{more} "

export MASTER_PORT=12456
python -m DeBERTa.apps.run --model_config config.json  \\
\t--tag $tag \\
\t--do_train \\
\t--max_seq_len {length} \\
\t--eval_batch_size 256 \\
\t--dump_interval 1000 \\
\t--task_name $Task \\
\t--data_dir $cache_dir/glue_tasks/$Task \\
\t--init_model $init \\
\t--output_dir /tmp/ttonly/$tag/${{Task}}_v2  $parameters
"""
SIFT = """ \\
\t--vat_lambda {} \\
\t--vat_learning_rate 1e-4 \\
\t--vat_init_perturbation 1e-2"""


def of_repository(task, init, epochs, warmup, rate, batch, dropout, length, sift=None, fp16=True):
    more = SIFT.format(sift) if sift else ""
    return REPOSITORY.format(
        task=task,
        init=init,
        epochs=epochs,
        warmup=warmup,
        rate=rate,
        batch=batch,
        dropout=dropout,
        length=length,
        fp16=fp16,
        more=more,
    )


REPOSITORIES = {
    "mnli/deberta-v3-xsmall-repo": of_repository("MNLI", "deberta-v3-xsmall", 3, 1000, "4.5e-5", 64, "0.10", 256),
    "mnli/deberta-v3-xsmall-sift": of_repository("MNLI", "deberta-v3-xsmall", 10, 1500, "5e-5", 64, "0.10", 256, sift=3),
    "mnli/deberta-v3-small-repo": of_repository("MNLI", "deberta-v3-small", 3, 1500, "4.5e-5", 64, "0.20", 256),
    "mnli/deberta-v3-small-sift": of_repository("MNLI", "deberta-v3-small", 6, 1000, "3.5e-5", 64, "0.1", 256, sift=5, fp16=False),
    "mnli/deberta-v3-base-repo": of_repository("MNLI", "deberta-v3-base", 3, 1000, "1.5e-5", 64, "0.1", 256),
    "mnli/deberta-v3-base-sift": of_repository("MNLI", "deberta-v3-base", 6, 1000, "1.5e-5", 64, "0.1", 256, sift=5),
    "mnli/deberta-v3-large-repo": of_repository("MNLI", "deberta-v3-large", 2, 500, "7e-6", 64, "0.3", 256),
    "mnli/deberta-base": of_repository("MNLI", "base", 3, 1000, "3e-5", 64, "0.1", 256),
    "mnli/deberta-base-sift": of_repository("MNLI", "base", 6, 1000, "1.5e-5", 64, "0.1", 256, sift=5),
    "mnli/deberta-v2-xxlarge-sift": of_repository("MNLI", "xxlarge-v2", 6, 1000, "3e-6", 64, "0.3", 256, sift=5),
    "qnli/deberta-v3-large": of_repository("QNLI", "deberta-v3-large", 6, 200, "7e-6", 64, "0.2", 512),
    "rte/deberta-v3-large": of_repository("RTE", "deberta-v3-large", 6, 50, "1e-5", 32, "0.3", 320),
    "cola/deberta-v3-large": of_repository("CoLA", "deberta-v3-large", 10, 50, "5.5e-6", 32, "0.10", 64),
    "sst2/deberta-v3-large": of_repository("SST-2", "deberta-v3-large", 8, 500, "6e-6", 32, "0.10", 128),
    "stsb/deberta-v3-large": of_repository("STS-B", "deberta-v3-large", 4, 50, "7e-6", 32, "0.10", 128),
    "mrpc/deberta-v3-large": of_repository("MRPC", "deberta-v3-large", 6, 50, "6e-6", 32, "0.20", 128),
    "qqp/deberta-v3-large": of_repository("QQP", "deberta-v3-large", 6, 1000, "1e-5", 64, "0.20", 320),
    "cola/deberta-base": of_repository("CoLA", "base", 6, 100, "2e-5", 32, "0.15", 64),
    "sst2/deberta-base": of_repository("SST-2", "base", 6, 500, "2e-5", 32, "0.15", 128),
    "mrpc/deberta-base": of_repository("MRPC", "base", 6, 50, "2e-5", 32, "0.15", 128),
    "qnli/deberta-base": of_repository("QNLI", "base", 4, 500, "2e-5", 32, "0.15", 512),
    "qqp/deberta-base": of_repository("QQP", "base", 8, 500, "2e-5", 64, "0.15", 320),
    "rte/deberta-base": of_repository("RTE", "base", 6, 100, "2e-5", 32, "0.20", 320),
    "stsb/deberta-base": of_repository("STS-B", "base", 6, 100, "2e-5", 32, "0.15", 128),
}
