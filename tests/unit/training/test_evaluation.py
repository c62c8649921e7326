import pytest
import torch

from regard.training.evaluation import evaluate


def test_training_does_not_notice_it(toy):
    task = toy.Toy()
    task.model.train()
    task.model[2].eval()  # a part that its owner keeps in evaluation mode
    modes = [module.training for module in task.model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(7)
    torch.manual_seed(5)
    first, second = evaluate(task), evaluate(task)
    assert torch.equal(torch.rand(7), expected)
    assert first == second
    assert [module.training for module in task.model.modules()] == modes


def test_it_evaluates_without_dropout_and_gradients(toy):
    task, seen = toy.Toy(), []
    task.model.train()
    task.model[2].register_forward_hook(lambda m, i, output: seen.append((m.training, output.requires_grad)))
    evaluate(task)
    assert seen == [(False, False)]


def test_a_failing_validation_leaves_training_mode(toy):
    task = toy.Toy(scores=[])
    task.model.train()
    with pytest.raises(StopIteration):
        evaluate(task)
    assert all(module.training for module in task.model.modules())


def test_the_metric_has_to_be_there(toy):
    task = toy.Toy()
    task.metric = "bleu"
    with pytest.raises(ValueError, match="returned score, loss but not the task's metric, bleu"):
        evaluate(task)
