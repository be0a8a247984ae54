// Asks for an API key, where the service needs one.
import { type Api, type Model, sentenceOf } from './api.js';
import { byId } from './dom.js';

/**
 * The model of the service. Where it wants a key, people are asked for one until it is right.
 * @throws ServiceError for any other failure
 */
export async function modelWithKey(api: Api): Promise<Model> {
  let said = '';
  for (;;) {
    try {
      return await api.model();
    } catch (error) {
      if ((error as { status?: number }).status !== 401) throw error;
      if (api.key !== undefined) said = sentenceOf(error);
      await askForKey(api, said, false);
    }
  }
}

/** @param optional whether it can be left as it is; then `false` is resolved to */
export function askForKey(api: Api, said: string, optional: boolean): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('key-dialog');
  const input = byId<HTMLInputElement>('key');
  const [form, cancel] = [byId('key-form'), byId('key-cancel')];
  const listening = new AbortController();
  const { signal } = listening;
  byId('key-error').textContent = said;
  input.value = '';
  cancel.hidden = !optional;
  dialog.showModal();
  input.focus();
  return new Promise<boolean>((resolve) => {
    const end = (changed: boolean) => {
      listening.abort();
      dialog.close();
      resolve(changed);
    };
    form.addEventListener(
      'submit',
      (event) => {
        event.preventDefault();
        const key = input.value.trim();
        // What a header can hold.
        if (!/^[\x21-\x7e]+$/.test(key)) {
          byId('key-error').textContent =
            key === '' ? 'Enter a key first.' : 'A key has letters, digits and signs alone.';
          return input.focus();
        }
        api.key = key;
        end(true);
      },
      { signal },
    );
    cancel.addEventListener('click', () => end(false), { signal });
    dialog.addEventListener(
      'cancel',
      (event) => {
        event.preventDefault();
        if (optional) end(false);
      },
      { signal },
    );
  });
}
