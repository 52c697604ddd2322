#!/usr/bin/env bash
# The four questions on the digits: studies data, compute, size, learned, each with plain kd and its controls.
#   bash experiments/answers/digits.sh FASHION_MNIST      in an empty folder, with kd-lab on the path
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
seeds=seed=0,1,2,3,4
quick=(trainer.threads=1 measure.figures=false "$seeds")

# 1. Extra data: how many unlabelled points, of what kind, and none. The same number of steps throughout.
python "$here/convert.py" "$1" clothes.npz
python "$here/convert.py" noise noise.npz
data=(study=data "${quick[@]}" student.recipe.steps=2033)
kd-lab -m "${data[@]}" student.unlabelled=0,50,100,200,400,800,1097
kd-lab -m "${data[@]}" student.unlabelled=0,100 student/recipe/mix=mixup
kd-lab -m "${data[@]}" loss=label_smoothing
kd-lab -m "${data[@]}" teacher=none strategy=self_training
demo=(teacher=ensemble tuned=digits tuned/loss=digits_kd)
for other in clothes noise; do
    kd-lab -m "${data[@]}" dataset=arrays "dataset.path=$other.npz" "${demo[@]}" "study=data_$other"
done


# 2. Extra compute: longer, heavier, chains; compare shows what each cost, chain and teacher included.
compute=(study=compute "${quick[@]}")
kd-lab -m "${compute[@]}" student.recipe.steps=250,500,1000,2033,4066,8132
kd-lab -m "${compute[@]}" teacher=cnn
kd-lab -m "${compute[@]}" strategy=born_again
kd-lab -m "${compute[@]}" strategy=assistants
kd-lab -m "${compute[@]}" strategy=several 'strategy.teachers=[mlp_128,mlp_96]'

# 3. Lost accuracy: student size against strategy.
for strategy in none assistants born_again annealing; do
    kd-lab -m study=size "${quick[@]}" "strategy=$strategy" 'student.widths=[4],[8],[16],[32],[64]'
done

# 4. Hand-set against learned, with 200 labels for validation that nothing else sees.
learned=(study=learned "${quick[@]}" dataset.validation=200)
kd-lab -m "${learned[@]}" loss.hard_weight=0,1 tuned/loss=none loss.weight=1 loss.temperature=2
kd-lab -m "${learned[@]}" loss=ctkd
for strategy in look_ahead uncertainty gradnorm exp3 dwa random_weights dynamic_kd sample_weights; do
    kd-lab -m "${learned[@]}" "strategy=$strategy"
done
kd-lab -m "${learned[@]}" strategy=look_ahead strategy.temperature=true
kd-lab -m study=learned dataset.validation=200 trainer.threads=1 measure.figures=false sweep=optuna sweep.search.trials=20 \
    sweep.search.final_seeds=[0,1,2,3,4]
kd-lab -m "${data[@]}" strategy=data_free
for study in data data_clothes data_noise compute size learned; do
    kd-lab compare "$study" --out "$study" || true
done
